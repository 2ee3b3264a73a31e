// A piece to see and hear: roll or sheet, its instruments, and what it can be used for.
import { signal } from "@preact/signals";
import type { Song } from "./player";
import { deck, owner, song as played } from "./player";
import { Mixer } from "./Mixer";
import { Roll } from "./Roll";
import { Sheet } from "./Sheet";

const showsSheet = signal(false);

interface Props {
  song: Song;
  by: string;
  chosen?: readonly (readonly [number, number])[];
  onChoose?: ((first: number, last: number) => void) | undefined;
  expected?: number;
}

/** Whether this piece is the one in the player. */
export function isLive(song: Song, by: string): boolean {
  return owner.value === by && deck.value.length > 0 && played.value?.id === song.id;
}

export function Stage({ song, by, chosen, onChoose, expected }: Props) {
  const live = isLive(song, by);
  return (
    <div class="stage">
      <div class="stage-top">
        <Mixer score={song.score} live={live} />
        <div class="segments" role="group" aria-label="Show as">
          <button type="button" aria-pressed={!showsSheet.value} onClick={() => (showsSheet.value = false)}>
            Roll
          </button>
          <button type="button" aria-pressed={showsSheet.value} onClick={() => (showsSheet.value = true)}>
            Sheet
          </button>
        </div>
      </div>
      {showsSheet.value ? (
        <Sheet key={song.id} song={song} live={live} />
      ) : (
        <Roll
          song={song}
          live={live}
          label={`Piano roll of ${song.title}`}
          tall
          {...(chosen ? { chosen } : {})}
          onChoose={onChoose}
          {...(expected ? { expected } : {})}
        />
      )}
    </div>
  );
}
