// What can be made of a composed piece: kept, named, gone on from, filled, varied, composed again.
import { useSignal } from "@preact/signals";
import { type Piece, api, told } from "../api";
import { say } from "../say";
import { Icon } from "../ui/icons";
import { deck, player } from "../stage/player";
import { IconButton, Name, Problem, percent } from "../ui/parts";
import { again, candidates, startFrom } from "./session";
import { DOES, type Task } from "./wishes";

const USES: Task[] = ["prompt", "infill", "vary", "humanise", "orchestrate"];

/** Tell all who show a piece that it has changed. */
function changed(piece: Piece): void {
  candidates.value = candidates
    .peek()
    .map((each) =>
      each.piece?.id === piece.id ? { ...each, piece, song: { ...each.song, title: piece.name } } : each,
    );
}

export async function star(piece: Piece): Promise<Piece> {
  const now = await api.changePiece(piece.id, { star: !piece.star });
  changed(now);
  say(now.star ? "Starred." : "Star taken away.");
  return now;
}

export async function rename(piece: Piece, name: string): Promise<Piece> {
  const now = await api.changePiece(piece.id, { name });
  changed(now);
  return now;
}

/** Delete a piece, also from where it is shown and played. */
export async function remove({ id }: Piece): Promise<void> {
  await api.deletePiece(id);
  candidates.value = candidates.peek().filter((each) => each.piece?.id !== id);
  if (deck.peek().some((each) => each.source === id))
    player.load(
      deck.peek().filter((each) => each.source !== id),
      0,
      "",
    );
}

interface Props {
  piece: Piece;
  onChange?: (piece: Piece) => void;
  level?: "h2" | "h3";
}

export function PieceActions({ piece, onChange, level = "h2" }: Props) {
  const problem = useSignal("");
  const tried = async (work: Promise<unknown>) => {
    problem.value = "";
    try {
      await work;
    } catch (error) {
      problem.value = told(error);
    }
  };
  return (
    <div class="piece-actions">
      <div class="piece-line">
        <IconButton
          icon={piece.star ? "star" : "hollow"}
          label={piece.star ? "Take the star away" : "Star this piece"}
          pressed={piece.star}
          class="star"
          onClick={() => void tried(star(piece).then(onChange))}
        />
        <Name
          value={piece.name}
          what="piece"
          level={level}
          onChange={async (name) => {
            const now = await rename(piece, name);
            onChange?.(now);
          }}
        />
        <span
          class="hint"
          title="How much of what is measured of it lies where it lies in eight of ten pieces that the model learned from"
        >
          {percent(piece.sidecar.likeness)} typical of its model · seed {piece.sidecar.seed}
        </span>
      </div>
      <div class="row" role="group" aria-label="Make something of it">
        {USES.map((use) => (
          <button
            type="button"
            class="quiet"
            key={use}
            onClick={() => void tried(startFrom(use, { kind: "piece", id: piece.id, name: piece.name }))}
          >
            {DOES[use]}
          </button>
        ))}
        <button type="button" class="quiet" onClick={() => void tried(again(piece, false))}>
          <Icon name="again" />
          Again, new seed
        </button>
      </div>
      <Problem text={problem.value} />
    </div>
  );
}
