// The bar at the bottom: what plays, where it is, and how: place, loop, tempo, loudness.
import { useSignal, useSignalEffect } from "@preact/signals";
import { barAt, barCount, barStart, quartersOf } from "../score/score";
import { TempoMap, clock } from "../score/timing";
import { Icon } from "../ui/icons";
import { IconButton } from "../ui/parts";
import { loop, moved, player, playing, song, soundProblem, speed, volume, waiting } from "./player";

export function toggleLoop(): void {
  const now = song.peek();
  if (!now) return;
  if (loop.peek()) {
    loop.value = null;
    return;
  }
  // Four bars from here on, to be drawn longer or shorter on the roll.
  const first = barAt(now.score, player.position());
  const last = Math.min(barCount(now.score), first + 3);
  loop.value = {
    from: barStart(now.score, first),
    until: Math.min(barStart(now.score, last + 1), quartersOf(now.score)),
  };
}

/** Let the loop begin, or end, with the bar that is heard. */
export function setLoop(edge: "from" | "until"): void {
  const now = song.peek();
  if (!now) return;
  const bar = barAt(now.score, player.position());
  const [from, until] = [
    barStart(now.score, bar),
    Math.min(barStart(now.score, bar + 1), quartersOf(now.score)),
  ];
  const before = loop.peek() ?? { from: 0, until: quartersOf(now.score) };
  if (edge === "from") loop.value = { from, until: before.until > from ? before.until : until };
  else loop.value = { from: before.from < until ? before.from : from, until };
}

export function Transport() {
  const place = useSignal(0);
  const how = useSignal(false);
  useSignalEffect(() => {
    void [moved.value, song.value];
    place.value = player.position();
    if (!playing.value) return;
    const timer = window.setInterval(() => (place.value = player.position()), 100);
    return () => window.clearInterval(timer);
  });
  const now = song.value;
  if (!now) return null;
  const tempo = new TempoMap(now.score);
  const [length, total] = [quartersOf(now.score), barCount(now.score)];
  const bar = barAt(now.score, Math.min(place.value, Math.max(0, length - 1e-3)));
  const seconds = (quarter: number) => clock(tempo.second(quarter) / speed.value);
  const around = loop.value;
  return (
    <section class="transport" aria-label="Player">
      <div class="transport-main">
        <IconButton icon="start" label="To the start" onClick={() => player.seek(0)} />
        <button
          type="button"
          class="play"
          aria-label={playing.value ? "Pause" : "Play"}
          title={playing.value ? "Pause (space)" : "Play (space)"}
          onClick={() => player.toggle()}
        >
          <Icon name={playing.value ? "pause" : "play"} />
        </button>
        <IconButton
          icon="loop"
          label={
            around
              ? `Loop bars ${barAt(now.score, around.from)} to ${barAt(now.score, around.until - 1e-3)}`
              : "Loop four bars from here (L)"
          }
          pressed={Boolean(around)}
          onClick={toggleLoop}
        />
      </div>
      <div class="transport-place">
        <div class="transport-title">
          <b title={now.title}>{now.title}</b>
          <span class="hint">
            {waiting.value ? "waiting for more notes · " : ""}
            bar {bar} of {total} · {seconds(place.value)} / {seconds(length)}
          </span>
        </div>
        <input
          type="range"
          class="seek"
          aria-label="Place in the piece"
          aria-valuetext={`bar ${bar} of ${total}`}
          min={0}
          max={Math.max(length, 0.01)}
          step="any"
          value={Math.min(place.value, length)}
          onInput={(event) => player.seek(Number(event.currentTarget.value))}
          onKeyDown={(event) => {
            // Steps of a bar: the browser's own are a hundredth of nothing.
            const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
            if (!step) return;
            event.preventDefault();
            player.seek(barStart(now.score, Math.max(1, bar + step)));
          }}
        />
      </div>
      <button
        type="button"
        class="icon-button transport-more"
        aria-label="Tempo and volume"
        aria-expanded={how.value}
        onClick={() => (how.value = !how.value)}
      >
        <Icon name="more" />
      </button>
      <div class={`transport-how ${how.value ? "transport-how-open" : ""}`}>
        <label>
          <span>Tempo {Math.round(speed.value * 100)} %</span>
          <input
            type="range"
            min={0.5}
            max={1.5}
            step={0.05}
            value={speed.value}
            onInput={(event) => (speed.value = Number(event.currentTarget.value))}
            onDblClick={() => (speed.value = 1)}
            aria-valuetext={`${Math.round(speed.value * 100)} %, ${Math.round(tempo.tempo(place.value) * speed.value)} quarters a minute`}
          />
        </label>
        <label>
          <span>Volume</span>
          <input
            type="range"
            min={0}
            max={1}
            step={0.05}
            value={volume.value}
            onInput={(event) => (volume.value = Number(event.currentTarget.value))}
            aria-valuetext={`${Math.round(volume.value * 100)} %`}
          />
        </label>
      </div>
      {soundProblem.value && (
        <p class="transport-problem" role="status">
          <Icon name="warn" /> {soundProblem.value}
        </p>
      )}
    </section>
  );
}
