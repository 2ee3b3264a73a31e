// Who plays: one chip an instrument, with its colour, mute and solo.
import type { Score } from "../score/score";
import { FIRST_KIT, players } from "../score/score";
import { TRACK_COLOURS } from "./draw";
import { isHeard, muted, solo } from "./player";
import { readable } from "./tracks";

function toggled(set: ReadonlySet<number>, instrument: number): ReadonlySet<number> {
  const next = new Set(set);
  if (!next.delete(instrument)) next.add(instrument);
  return next;
}

export function Mixer({ score, live }: { score: Score; live: boolean }) {
  return (
    <ul class="mixer" aria-label="Instruments">
      {players(score).map((instrument, place) => {
        const name = readable(score.instruments[instrument] ?? "");
        return (
          <li key={instrument} class={`track ${live && !isHeard(instrument) ? "track-silent" : ""}`}>
            <span
              class={`swatch ${instrument >= FIRST_KIT ? "swatch-drum" : ""} ${place >= TRACK_COLOURS ? "swatch-hollow" : ""}`}
              style={{ "--colour": `var(--track-${(place % TRACK_COLOURS) + 1})` }}
            />
            <span class="track-name">{name}</span>
            {live && (
              <>
                <button
                  type="button"
                  class="letter"
                  aria-pressed={muted.value.has(instrument)}
                  aria-label={`Mute ${name}`}
                  title={`Mute ${name}`}
                  onClick={() => (muted.value = toggled(muted.value, instrument))}
                >
                  M
                </button>
                <button
                  type="button"
                  class="letter"
                  aria-pressed={solo.value.has(instrument)}
                  aria-label={`Solo ${name}`}
                  title={`Solo ${name}`}
                  onClick={() => (solo.value = toggled(solo.value, instrument))}
                >
                  S
                </button>
              </>
            )}
          </li>
        );
      })}
    </ul>
  );
}
