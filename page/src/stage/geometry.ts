// Where notes lie on a roll, which part of a piece it shows, and what lies under a pointer; pure.
import { type Score, barAt, barStart, quartersOf } from "../score/score";

export interface View {
  /** First quarter shown, and how many. */
  from: number;
  span: number;
  /** Lowest and highest key shown. */
  low: number;
  high: number;
  width: number;
  height: number;
  /** Height of the strip of bar numbers, and width of that of key names. */
  ruler: number;
  left: number;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

const LEAST_KEYS = 24;
const MARGIN_KEYS = 2;
const SHORTEST_SPAN = 2;
const READABLE_BARS = 32;

/** The keys that a roll of these scores shows. */
export function keysOf(scores: Score[]): [low: number, high: number] {
  let [low, high] = [127, 0];
  for (const { pitch } of scores)
    for (const key of pitch) [low, high] = [Math.min(low, key), Math.max(high, key)];
  if (low > high) [low, high] = [48, 72];
  low -= MARGIN_KEYS;
  high += MARGIN_KEYS;
  const lacking = LEAST_KEYS - (high - low + 1);
  if (lacking > 0) [low, high] = [low - Math.ceil(lacking / 2), high + Math.floor(lacking / 2)];
  return [Math.max(0, low), Math.min(127, high)];
}

export function xOf(view: View, quarter: number): number {
  return view.left + ((quarter - view.from) / view.span) * (view.width - view.left);
}

export function quarterAtX(view: View, x: number): number {
  return view.from + ((x - view.left) / (view.width - view.left)) * view.span;
}

export function keyHeight(view: View): number {
  return (view.height - view.ruler) / (view.high - view.low + 1);
}

export function yOf(view: View, key: number): number {
  return view.ruler + (view.high - key) * keyHeight(view);
}

/** Where note `n` is drawn; a gap keeps repeated notes apart. */
export function boxOf(view: View, score: Score, n: number): Box {
  const per = score.ticks_per_quarter;
  const x = xOf(view, score.onset[n]! / per);
  const right = xOf(view, (score.onset[n]! + score.duration[n]!) / per);
  const height = keyHeight(view);
  const gap = height > 5 ? 1 : 0;
  return {
    x,
    y: yOf(view, score.pitch[n]!),
    width: Math.max(1.5, right - x - 1),
    height: Math.max(1.5, height - gap),
  };
}

/** The note under a point, the topmost drawn first. */
export function noteAt(view: View, score: Score, x: number, y: number): number | null {
  for (let n = score.onset.length - 1; n >= 0; n--) {
    const box = boxOf(view, score, n);
    if (
      x >= box.x &&
      x <= box.x + Math.max(box.width, 4) &&
      y >= box.y &&
      y <= box.y + Math.max(box.height, 3)
    )
      return n;
  }
  return null;
}

/** The part shown after zooming by a factor around a place, within a piece of `length` quarters. */
export function zoomed(
  from: number,
  span: number,
  factor: number,
  around: number,
  length: number,
): [number, number] {
  const wide = Math.min(Math.max(span * factor, SHORTEST_SPAN), Math.max(length, SHORTEST_SPAN));
  const share = span ? (around - from) / span : 0;
  return [held(around - share * wide, wide, length), wide];
}

/** The first quarter shown, kept within the piece. */
export function held(from: number, span: number, length: number): number {
  return Math.max(0, Math.min(from, length - span));
}

/** The first quarter to show so that a place is seen: pages are turned, not scrolled, which is calm and cheap. */
export function turned(from: number, span: number, place: number, length: number): number {
  if (place >= from && place < from + span) return from;
  return held(Math.floor(place / span) * span, span, length);
}

/** The bars between two places, first and last, whichever comes first. */
export function barsBetween(score: Score, a: number, b: number): [number, number] {
  const [first, last] = a <= b ? [a, b] : [b, a];
  return [barAt(score, first), barAt(score, Math.max(first, last - 1e-3))];
}

/** Every how many bars something of a width fits. */
export function barsFor(view: View, score: Score, least: number): number {
  const bars = score.bar_lines.length - 1 || 1;
  const width = ((quartersOf(score) / bars) * (view.width - view.left)) / view.span;
  return [1, 2, 4, 8, 16, 32, 64, 128].find((every) => width * every >= least) ?? 256;
}

/** What is shown of a piece at first: all, or the beginning of one that is too long to be read at once. */
export function atFirst(score: Score, length: number): { from: number; span: number } | null {
  const bars = score.bar_lines.length - 1;
  return bars > 2 * READABLE_BARS
    ? { from: 0, span: Math.min(length, barStart(score, READABLE_BARS + 1)) }
    : null;
}

/** Places where bars begin that are in view, with their numbers. */
export function barsInView(view: View, score: Score): { bar: number; quarter: number }[] {
  const found: { bar: number; quarter: number }[] = [];
  for (let bar = barAt(score, Math.max(0, view.from)); bar <= score.bar_lines.length; bar++) {
    const quarter = barStart(score, bar);
    if (quarter > view.from + view.span + 1e-6) break;
    found.push({ bar, quarter });
  }
  return found;
}
