// Draws a piece on a canvas: keys, bars, notes, chosen bars and the playhead.
import { FIRST_KIT, type Score, barStart } from "../score/score";
import { type View, barsFor, barsInView, boxOf, keyHeight, xOf, yOf } from "./geometry";

export const TRACK_COLOURS = 8;

export interface Ink {
  tracks: string[];
  paper: string;
  row: string;
  line: string;
  strong: string;
  text: string;
  accent: string;
  chosen: string;
  font: string;
}

/** Colours of the theme, which the style sheet tells. */
export function inkOf(element: Element): Ink {
  const style = getComputedStyle(element);
  const value = (name: string) => style.getPropertyValue(name).trim();
  return {
    tracks: Array.from({ length: TRACK_COLOURS }, (_, n) => value(`--track-${n + 1}`)),
    paper: value("--roll"),
    row: value("--roll-row"),
    line: value("--roll-line"),
    strong: value("--roll-bar"),
    text: value("--quiet"),
    accent: value("--playhead"),
    chosen: value("--chosen"),
    font: `11px ${style.fontFamily}`,
  };
}

/** Bring a canvas to its size on this screen; returns its context in CSS pixels. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d")!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const BLACK = new Set([1, 3, 6, 8, 10]);

export function drawGrid(context: CanvasRenderingContext2D, view: View, score: Score, ink: Ink): void {
  context.fillStyle = ink.paper;
  context.fillRect(0, 0, view.width, view.height);
  context.fillStyle = ink.row;
  const height = keyHeight(view);
  for (let key = view.low; key <= view.high; key++)
    if (BLACK.has(key % 12)) context.fillRect(0, yOf(view, key), view.width, height);
  context.fillStyle = ink.line;
  for (let key = view.low; key <= view.high; key++)
    if (key % 12 === 0) context.fillRect(0, Math.round(yOf(view, key) + height) - 0.5, view.width, 1);
  const [numbers, lines] = [barsFor(view, score, 26), barsFor(view, score, 6)];
  context.font = ink.font;
  context.textBaseline = "middle";
  for (const { bar, quarter } of barsInView(view, score)) {
    const x = Math.round(xOf(view, quarter));
    const numbered = (bar - 1) % numbers === 0;
    if ((bar - 1) % lines) continue;
    context.fillStyle = numbered ? ink.strong : ink.line;
    context.fillRect(x, numbered ? 0 : view.ruler, 1, view.height);
    if (!numbered || !view.ruler || bar >= score.bar_lines.length) continue;
    context.fillStyle = ink.text;
    context.fillText(String(bar), x + 4, view.ruler / 2 + 0.5);
  }
}

/** The strips of bar numbers and key names; drawn last, since notes may reach into the latter. */
export function drawEdges(context: CanvasRenderingContext2D, view: View, ink: Ink): void {
  context.fillStyle = ink.paper;
  context.fillRect(0, 0, view.left, view.height);
  context.fillStyle = ink.strong;
  context.fillRect(view.left - 1, 0, 1, view.height);
  context.fillRect(0, view.ruler - 1, view.width, 1);
  context.fillStyle = ink.text;
  context.font = ink.font;
  context.textBaseline = "middle";
  const height = keyHeight(view);
  for (let key = view.low; key <= view.high; key++)
    if (key % 12 === 0)
      context.fillText(`C${key / 12 - 1}`, 6, Math.min(view.height - 6, yOf(view, key) + height / 2));
}

export function drawNotes(
  context: CanvasRenderingContext2D,
  view: View,
  score: Score,
  ink: Ink,
  trackOf: (instrument: number) => number,
  isHeard: (instrument: number) => boolean,
): void {
  for (let n = 0; n < score.onset.length; n++) {
    const box = boxOf(view, score, n);
    if (box.x > view.width || box.x + box.width < 0) continue;
    const instrument = score.instrument[n]!;
    const track = trackOf(instrument);
    // Drums are diamonds: how long they last means nothing.
    const shape = instrument >= FIRST_KIT && box.height > 3 ? diamond : rounded;
    // Paper below the colour: instruments that play the same note do not mix to mud.
    context.globalAlpha = 1;
    context.fillStyle = ink.paper;
    shape(context, box.x, box.y, box.width, box.height);
    context.globalAlpha = isHeard(instrument) ? 0.55 + (0.45 * score.velocity[n]!) / 127 : 0.15;
    context.fillStyle = ink.tracks[track % TRACK_COLOURS]!;
    shape(context, box.x, box.y, box.width, box.height);
    if (track < TRACK_COLOURS || box.height < 5) continue;
    // Colours come round again: those notes are hollow.
    context.globalAlpha = 1;
    context.fillStyle = ink.paper;
    shape(context, box.x + 1.5, box.y + 1.5, box.width - 3, box.height - 3);
  }
  context.globalAlpha = 1;
}

function rounded(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  if (width <= 0) return;
  if (height < 4 || width < 4) {
    context.fillRect(x, y, width, height);
    return;
  }
  context.beginPath();
  context.roundRect(x, y, width, height, Math.min(3, height / 2.5));
  context.fill();
}

function diamond(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  _width: number,
  size: number,
): void {
  const half = Math.min(size, 10) / 2;
  const middle = y + size / 2;
  context.beginPath();
  context.moveTo(x, middle);
  context.lineTo(x + half, middle - half);
  context.lineTo(x + 2 * half, middle);
  context.lineTo(x + half, middle + half);
  context.fill();
}

/** Bars that are chosen or looped. */
export function drawBars(
  context: CanvasRenderingContext2D,
  view: View,
  score: Score,
  ranges: readonly (readonly [first: number, last: number])[],
  ink: Ink,
): void {
  for (const [first, last] of ranges) {
    const [x, right] = [
      Math.max(view.left, xOf(view, barStart(score, first))),
      xOf(view, barStart(score, last + 1)),
    ];
    if (right <= view.left) continue;
    context.fillStyle = ink.chosen;
    context.globalAlpha = 0.16;
    context.fillRect(x, 0, right - x, view.height);
    context.globalAlpha = 1;
    context.fillRect(x, 0, right - x, 3);
    context.fillRect(x, 0, 1.5, view.height);
    context.fillRect(right - 1.5, 0, 1.5, view.height);
  }
}

export function drawPlayhead(context: CanvasRenderingContext2D, view: View, quarter: number, ink: Ink): void {
  const x = xOf(view, quarter);
  if (x < view.left - 2 || x > view.width + 2) return;
  context.fillStyle = ink.accent;
  context.fillRect(x - 0.75, 0, 1.5, view.height);
  if (!view.ruler) return;
  context.beginPath();
  context.moveTo(x - 5, 0);
  context.lineTo(x + 5, 0);
  context.lineTo(x, 8);
  context.fill();
}
