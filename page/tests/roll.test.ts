// Where things lie on the roll, and what a pointer means.
import { describe, expect, it } from "vitest";
import { scoreOf } from "../src/score/score";
import {
  type View,
  atFirst,
  barsBetween,
  barsFor,
  barsInView,
  boxOf,
  held,
  keysOf,
  noteAt,
  quarterAtX,
  turned,
  xOf,
  zoomed,
} from "../src/stage/geometry";

const view: View = { from: 4, span: 8, low: 48, high: 72, width: 432, height: 272, ruler: 22, left: 32 };
const score = scoreOf(
  {
    ticks_per_quarter: 12,
    onset: [0, 48, 96],
    duration: [12, 12, 48],
    pitch: [60, 64, 48],
    velocity: [80, 80, 80],
    instrument: [0, 0, 0],
    tempi: [],
    metres: [[0, 4, 4]],
  },
  String,
);

describe("the roll", () => {
  it("lays out quarters, and finds them again", () => {
    expect(xOf(view, 4)).toBe(32);
    expect(xOf(view, 12)).toBe(432);
    for (const quarter of [4, 5.5, 11]) expect(quarterAtX(view, xOf(view, quarter))).toBeCloseTo(quarter, 9);
  });

  it("draws notes within its keys, and finds them under a point", () => {
    const box = boxOf(view, score, 1);
    expect(box).toEqual({ x: 32, y: 22 + 8 * 10, width: 49, height: 9 });
    expect(noteAt(view, score, box.x + 5, box.y + 5)).toBe(1);
    expect(noteAt(view, score, box.x + 5, box.y + 40)).toBeNull();
  });

  it("shows two octaves at least, and all keys that are played", () => {
    const [low, high] = keysOf([score]);
    expect(high - low + 1).toBeGreaterThanOrEqual(24);
    expect(low).toBeLessThanOrEqual(48);
    expect(high).toBeGreaterThanOrEqual(64);
    expect(keysOf([])).toHaveLength(2);
  });

  it("zooms around a place and stays within the piece", () => {
    const [from, span] = zoomed(0, 32, 0.5, 16, 32);
    expect([from, span]).toEqual([8, 16]);
    expect(zoomed(8, 16, 4, 16, 32)).toEqual([0, 32]);
    expect(held(30, 16, 32)).toBe(16);
    expect(held(-3, 16, 32)).toBe(0);
  });

  it("turns pages when the playhead leaves", () => {
    expect(turned(0, 8, 3, 32)).toBe(0);
    expect(turned(0, 8, 8.1, 32)).toBe(8);
    expect(turned(0, 8, 31, 32)).toBe(24);
  });

  it("means whole bars, whichever way they are drawn", () => {
    expect(barsBetween(score, 1, 9)).toEqual([1, 3]);
    expect(barsBetween(score, 8, 4)).toEqual([2, 2]);
    expect(barsBetween(score, 5, 5)).toEqual([2, 2]);
  });

  it("numbers as many bars as there is room for", () => {
    expect(barsInView({ ...view, from: 0, span: 12 }, score).map(({ bar }) => bar)).toEqual([1, 2, 3, 4]);
    expect(barsFor(view, score, 26)).toBe(1);
    expect(barsFor({ ...view, span: 400 }, score, 26)).toBeGreaterThan(4);
  });

  it("shows the beginning of a long piece, and all of a short one", () => {
    expect(atFirst(score, 12)).toBeNull();
    const long = { ...score, bar_lines: Array.from({ length: 101 }, (_, n) => n * 48), end: 4800 };
    expect(atFirst(long, 400)).toEqual({ from: 0, span: 128 });
  });
});
