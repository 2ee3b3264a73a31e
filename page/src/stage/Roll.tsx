// The piano roll: two canvases, one for the piece and one for the playhead, and what pointer and keys do with them.
import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type Score, barAt, barCount, barStart, players, quartersOf } from "../score/score";
import { dark } from "../theme";
import { Icon } from "../ui/icons";
import { drawBars, drawEdges, drawGrid, drawNotes, drawPlayhead, inkOf, sized } from "./draw";
import {
  type View,
  atFirst,
  barsBetween,
  held,
  keysOf,
  noteAt,
  quarterAtX,
  turned,
  zoomed,
} from "./geometry";
import { type Song, isHeard, loop, moved, muted, player, playing, solo } from "./player";
import { keyName, trackNumber } from "./tracks";

type Bars = readonly (readonly [first: number, last: number])[];

interface Props {
  song: Song;
  /** Whether the playhead is this piece's, and clicks move it. */
  live: boolean;
  label: string;
  /** Bars that are chosen, and what to do when others are. */
  chosen?: Bars;
  onChoose?: ((first: number, last: number) => void) | undefined;
  /** Bars that it will have, while it is written. */
  expected?: number;
  tall?: boolean;
}

const RULER = 22;
const LEFT = 32;
const DRAG = 5;

export function Roll({ song, live, label, chosen = [], onChoose, expected, tall }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const notes = useRef<HTMLCanvasElement>(null);
  const head = useRef<HTMLCanvasElement>(null);
  const size = useSignal<[number, number]>([0, 0]);
  const part = useSignal<{ from: number; span: number } | null>(null);
  const hint = useSignal<{ x: number; y: number; text: string } | null>(null);
  const bar = useSignal(1);
  const dragged = useRef<{ x: number; quarter: number; ruler: boolean; moved: boolean } | null>(null);
  const props = useSignal({ score: song.score, chosen, expected, live });
  props.value = { score: song.score, chosen, expected, live };

  const length = () => lengthOf(props.peek().score, props.peek().expected);
  const view = (): View => {
    const { from, span } = part.value ?? { from: 0, span: length() };
    const [low, high] = keysOf([props.value.score]);
    return { from, span, low, high, width: size.value[0], height: size.value[1], ruler: RULER, left: LEFT };
  };

  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => {
      size.value = [Math.floor(entry!.contentRect.width), Math.floor(entry!.contentRect.height)];
    });
    watch.observe(frame.current!);
    return () => watch.disconnect();
  }, []);

  useEffect(() => {
    part.value = song.complete ? atFirst(song.score, length()) : null;
  }, [song.id]);

  useSignalEffect(() => {
    void dark.value;
    if (!size.value[0] || !notes.current) return;
    const [score, seen, ink] = [props.value.score, view(), inkOf(notes.current)];
    const context = sized(notes.current, seen.width, seen.height);
    const around = props.value.live ? loop.value : null;
    const hears = props.value.live ? heardNow() : () => true;
    drawGrid(context, seen, score, ink);
    if (around)
      drawBars(context, seen, score, [barsBetween(score, around.from, around.until)], {
        ...ink,
        chosen: ink.accent,
      });
    drawNotes(context, seen, score, ink, trackNumber(score), hears);
    drawBars(context, seen, score, props.value.chosen, ink);
    drawEdges(context, seen, ink);
  });

  useSignalEffect(() => {
    void [moved.value, dark.value, size.value];
    let next = 0;
    if (!head.current) return;
    const ink = inkOf(head.current);
    const tick = () => {
      if (!head.current || !size.peek()[0]) return;
      const at = player.position();
      const seen = view();
      if (props.peek().live && part.peek()) {
        const from = turned(seen.from, seen.span, at, length());
        if (from !== seen.from) part.value = { from, span: seen.span };
      }
      const context = sized(head.current, seen.width, seen.height);
      if (props.peek().live) drawPlayhead(context, seen, at, ink);
      const now = barAt(props.peek().score, at);
      if (now !== bar.peek()) bar.value = now;
      if (playing.peek() && props.peek().live) next = requestAnimationFrame(tick);
    };
    void playing.value;
    void part.value;
    void props.value;
    tick();
    return () => cancelAnimationFrame(next);
  });

  const zoom = (factor: number, around = player.position()) => {
    const { from, span } = part.peek() ?? { from: 0, span: length() };
    const [start, wide] = zoomed(from, span, factor, around, length());
    part.value = wide >= length() - 1e-6 ? null : { from: start, span: wide };
  };
  const shift = (quarters: number) => {
    if (part.peek())
      part.value = { ...part.peek()!, from: held(part.peek()!.from + quarters, part.peek()!.span, length()) };
  };

  const point = (event: PointerEvent | WheelEvent) => {
    const box = head.current!.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return { x, y, quarter: quarterAtX(view(), x) };
  };
  const down = (event: PointerEvent) => {
    if (event.button) return;
    const { x, y, quarter } = point(event);
    dragged.current = { x, quarter, ruler: y < RULER || Boolean(onChoose), moved: false };
    if (y < RULER || event.pointerType === "mouse") head.current!.setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent) => {
    const { x, y, quarter } = point(event);
    const drag = dragged.current;
    if (drag && (drag.moved || Math.abs(x - drag.x) > DRAG)) {
      drag.moved = true;
      if (drag.ruler) choose(drag.quarter, quarter);
      return;
    }
    const n = noteAt(view(), song.score, x, y);
    hint.value = n === null ? null : { x, y, text: hintOf(song.score, n) };
  };
  const up = (event: PointerEvent) => {
    const drag = dragged.current;
    dragged.current = null;
    if (!drag || drag.moved) return;
    const { quarter } = point(event);
    if (onChoose && event.shiftKey) choose(quarter, quarter);
    else if (live) player.seek(quarter);
  };
  const choose = (a: number, b: number) => {
    const [first, last] = barsBetween(song.score, a, b);
    if (onChoose) onChoose(first, last);
    else if (live)
      loop.value = {
        from: barStart(song.score, first),
        until: Math.min(barStart(song.score, last + 1), quartersOf(song.score)),
      };
  };
  const wheel = (event: WheelEvent) => {
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY / 200), point(event).quarter);
    else if (part.peek() && (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)))
      shift(((event.deltaX || event.deltaY) / size.peek()[0]) * part.peek()!.span);
    else return;
    event.preventDefault();
  };
  const key = (event: KeyboardEvent) => {
    const bars: Record<string, number> = {
      ArrowLeft: bar.peek() - 1,
      ArrowRight: bar.peek() + 1,
      Home: 1,
      End: barCount(song.score),
    };
    if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key in bars && live && !event.ctrlKey && !event.altKey)
      player.seek(barStart(song.score, Math.max(1, bars[event.key]!)));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  useEffect(() => {
    const element = head.current!;
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });

  const total = barCount(song.score);
  return (
    <div class={`roll ${tall ? "roll-tall" : ""}`}>
      <div class="roll-frame" ref={frame}>
        <canvas ref={notes} aria-hidden="true" />
        <canvas
          ref={head}
          class="roll-head"
          tabIndex={0}
          role="slider"
          aria-label={label}
          aria-valuemin={1}
          aria-valuemax={total}
          aria-valuenow={Math.min(bar.value, total)}
          aria-valuetext={`bar ${Math.min(bar.value, total)} of ${total}`}
          aria-description={described(song.score)}
          onPointerDown={down}
          onPointerMove={move}
          onPointerUp={up}
          onPointerCancel={() => (dragged.current = null)}
          onPointerLeave={() => (hint.value = null)}
          onKeyDown={key}
        />
        {hint.value && (
          <div
            class="roll-hint"
            style={{
              left: `${Math.min(hint.value.x + 12, size.value[0] - 150)}px`,
              top: `${hint.value.y + 14}px`,
            }}
          >
            {hint.value.text}
          </div>
        )}
      </div>
      <div class="roll-tools">
        <button
          type="button"
          class="icon-button"
          aria-label="Zoom out"
          title="Zoom out (−)"
          disabled={!part.value}
          onClick={() => zoom(2)}
        >
          <Icon name="minus" />
        </button>
        <button
          type="button"
          class="icon-button"
          aria-label="Zoom in"
          title="Zoom in (+)"
          onClick={() => zoom(0.5)}
        >
          <Icon name="plus" />
        </button>
        <button
          type="button"
          class="icon-button"
          aria-label="Show all"
          title="Show all"
          disabled={!part.value}
          onClick={() => (part.value = null)}
        >
          <Icon name="fit" />
        </button>
        {part.value && (
          <input
            type="range"
            class="roll-scroll"
            aria-label="Part of the piece that is shown"
            min={0}
            max={Math.max(0.001, length() - part.value.span)}
            step="any"
            value={part.value.from}
            onInput={(event) =>
              (part.value = { from: Number(event.currentTarget.value), span: part.peek()!.span })
            }
          />
        )}
      </div>
    </div>
  );
}

/** A roll to recognise a piece by, without anything to operate. */
export function SmallRoll({ score, expected }: { score: Score; expected?: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const state = useSignal({ score, expected });
  state.value = { score, expected };
  useSignalEffect(() => {
    void dark.value;
    const element = canvas.current;
    if (!element) return;
    const { width, height } = element.getBoundingClientRect();
    const [low, high] = keysOf([state.value.score]);
    const seen = {
      from: 0,
      span: lengthOf(state.value.score, state.value.expected),
      low,
      high,
      width,
      height,
      ruler: 0,
      left: 0,
    };
    drawNotes(
      sized(element, width, height),
      seen,
      state.value.score,
      inkOf(element),
      trackNumber(state.value.score),
      () => true,
    );
  });
  return <canvas class="small-roll" ref={canvas} aria-hidden="true" />;
}

function heardNow(): (instrument: number) => boolean {
  void [muted.value, solo.value];
  return isHeard;
}

function lengthOf(score: Score, expected: number | undefined): number {
  const written = Math.max(quartersOf(score), 1);
  if (!expected) return written;
  return Math.max(written, (quartersOf(score) / barCount(score)) * expected || expected * 4);
}

function hintOf(score: Score, n: number): string {
  return `${keyName(score.pitch[n]!)}, ${score.instruments[score.instrument[n]!] ?? ""}`;
}

function described(score: Score): string {
  const names = players(score).map((each) => score.instruments[each]);
  const key = score.key ? `, in ${score.key}` : "";
  return `${score.onset.length} notes by ${names.join(", ") || "nobody yet"}${key}. Arrow keys move by bars, plus and minus zoom.`;
}
