// One piece of the history, and all of it when opened.
import { useSignal } from "@preact/signals";
import { type Piece, api, told } from "../api";
import { PieceActions, remove, rename, star } from "../compose/PieceActions";
import { OriginalityNote, Verdict } from "../stage/Originality";
import { Stage, isLive } from "../stage/Stage";
import { TakeHome } from "../stage/TakeHome";
import { type Song, player, playing } from "../stage/player";
import { IconButton, Name, Problem, Sure } from "../ui/parts";

interface Props {
  piece: Piece;
  picked: boolean;
  onPick: () => void;
  onChange: (piece: Piece | null) => void;
}

const OWNER = "history";

export async function songOf(piece: Piece): Promise<Song> {
  return {
    id: `history ${piece.id}`,
    title: piece.name,
    kind: "piece",
    source: piece.id,
    score: await api.pieceScore(piece.id),
    complete: true,
  };
}

export function PieceRow({ piece, picked, onPick, onChange }: Props) {
  const song = useSignal<Song | null>(null);
  const opened = useSignal(false);
  const problem = useSignal("");
  const tried = async (work: () => Promise<unknown>) => {
    problem.value = "";
    try {
      await work();
    } catch (error) {
      problem.value = told(error);
    }
  };
  const live = song.value !== null && isLive(song.value, OWNER);
  const hear = () =>
    tried(async () => {
      song.value ??= await songOf(piece);
      if (!isLive(song.value, OWNER)) player.load([song.value], 0, OWNER);
      player.toggle();
    });
  const see = () =>
    tried(async () => {
      song.value ??= await songOf(piece);
      opened.value = !opened.value;
      if (opened.value && !playing.peek()) player.load([song.value], 0, OWNER);
    });
  return (
    <li class="piece">
      <div class="piece-row">
        <IconButton
          icon={live && playing.value ? "pause" : "play"}
          label={`${live && playing.value ? "Pause" : "Hear"} ${piece.name}`}
          onClick={() => void hear()}
        />
        <IconButton
          icon={piece.star ? "star" : "hollow"}
          class="star"
          pressed={piece.star}
          label={`${piece.star ? "Take the star from" : "Star"} ${piece.name}`}
          onClick={() => void tried(async () => onChange(await star(piece)))}
        />
        <div class="piece-what">
          <Name
            value={piece.name}
            what="piece"
            onChange={async (name) => onChange(await rename(piece, name))}
          />
        </div>
        <Verdict piece={piece} />
        <div class="piece-tools">
          <label class="check compare-check">
            <input type="checkbox" checked={picked} aria-label={`Compare ${piece.name}`} onChange={onPick} />
            <span aria-hidden="true">Compare</span>
          </label>
          <button
            type="button"
            class="quiet"
            aria-expanded={opened.value}
            aria-label={`${opened.value ? "Close" : "Open"} ${piece.name}`}
            onClick={() => void see()}
          >
            {opened.value ? "Close" : "Open"}
          </button>
          <Sure
            label={`Delete ${piece.name}`}
            sure="Delete"
            icon="trash"
            small
            onSure={() => tried(async () => (await remove(piece), onChange(null)))}
          />
        </div>
      </div>
      <Problem text={problem.value} />
      {opened.value && song.value && (
        <div class="of-piece">
          <Stage song={song.value} by={OWNER} />
          <OriginalityNote piece={piece} />
          <PieceActions piece={piece} onChange={onChange} level="h3" />
          <TakeHome id={piece.id} title={piece.name} />
        </div>
      )}
    </li>
  );
}
