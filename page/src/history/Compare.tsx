// Two pieces side by side, at the same place: keys 1 and 2 switch between them.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Piece, told } from "../api";
import { OriginalityNote } from "../stage/Originality";
import { Roll } from "../stage/Roll";
import { type Song, active, owner, player } from "../stage/player";
import { Mixer } from "../stage/Mixer";
import { Icon } from "../ui/icons";
import { IconButton, Problem } from "../ui/parts";
import { songOf } from "./PieceRow";

const OWNER = "compare";

export function Compare({ pieces, onClose }: { pieces: [Piece, Piece]; onClose: () => void }) {
  const songs = useSignal<Song[]>([]);
  const problem = useSignal("");
  useEffect(() => {
    Promise.all(pieces.map(songOf)).then(
      (found) => {
        songs.value = found;
        player.load(found, 0, OWNER);
      },
      (error: unknown) => (problem.value = told(error)),
    );
  }, []);
  const hear = (n: number) => {
    if (owner.value !== OWNER) player.load(songs.value, n, OWNER);
    else player.switchTo(n);
    void player.play();
  };
  return (
    <section class="panel compare" aria-label="Compare">
      <div class="training-top">
        <h2>Compare</h2>
        <IconButton icon="close" label="End comparing" onClick={onClose} />
      </div>
      <Problem text={problem.value} />
      <div class="compare-two">
        {songs.value.map((song, n) => {
          const live = owner.value === OWNER && active.value === n;
          return (
            <div key={song.id} class={`compare-one ${live ? "compare-live" : ""}`}>
              <button type="button" class="quiet" aria-pressed={live} onClick={() => hear(n)}>
                <kbd>{n + 1}</kbd> {song.title} {live && <Icon name="volume" />}
              </button>
              <Roll song={song} live={live} label={`Piano roll of ${song.title}`} />
              <Mixer score={song.score} live={live} />
              <OriginalityNote piece={pieces[n]!} />
            </div>
          );
        })}
      </div>
    </section>
  );
}
