// Scores: bars, drafts, and the way between places and seconds.
import { describe, expect, it } from "vitest";
import {
  type Columns,
  type Draft,
  barAt,
  barCount,
  barLines,
  barStart,
  merged,
  players,
  scoreOf,
} from "../src/score/score";
import { TempoMap, clock } from "../src/score/timing";

function columns(onset: number[], change: Partial<Columns> = {}): Columns {
  return {
    ticks_per_quarter: 12,
    onset,
    duration: onset.map(() => 12),
    pitch: onset.map((_, n) => 60 + n),
    velocity: onset.map(() => 80),
    instrument: onset.map((_, n) => (n % 2 ? 128 : 40)),
    tempi: [[0, 120]],
    metres: [[0, 4, 4]],
    ...change,
  };
}

const score = (onset: number[], change: Partial<Columns> = {}) => scoreOf(columns(onset, change), String);

describe("bars", () => {
  it("go to the first line at or after the end", () => {
    expect(barLines([[0, 3, 4]], 12, 72)).toEqual([0, 36, 72]);
    expect(barLines([[0, 3, 4]], 12, 73)).toEqual([0, 36, 72, 108]);
    expect(barLines([], 12, 10)).toEqual([0, 48]);
  });

  it("begin anew with a new metre", () => {
    expect(
      barLines(
        [
          [0, 4, 4],
          [96, 3, 4],
        ],
        12,
        130,
      ),
    ).toEqual([0, 48, 96, 132]);
  });

  it("are found by place, and places by bar", () => {
    const piece = score([0, 48, 96, 108]);
    expect(barCount(piece)).toBe(3);
    expect([0, 3.999, 4, 100].map((quarter) => barAt(piece, quarter))).toEqual([1, 1, 2, 3]);
    expect([1, 2, 3, 4].map((bar) => barStart(piece, bar))).toEqual([0, 4, 8, 12]);
  });
});

describe("drafts", () => {
  const draft = (from: number, onset: number[]): Draft => ({ ...columns(onset), piece: 1, from });

  it("add to what was written, or replace it from a note on", () => {
    const first = merged(null, draft(0, [0, 12]));
    const second = merged(first, draft(2, [24]));
    expect(second.onset).toEqual([0, 12, 24]);
    expect(merged(second, draft(1, [13, 25])).onset).toEqual([0, 13, 25]);
    expect(first.onset).toEqual([0, 12]);
  });

  it("make scores with their players and their end", () => {
    const piece = score([0, 12, 24]);
    expect(piece.end).toBe(36);
    expect(players(piece)).toEqual([40, 128]);
  });
});

describe("tempi", () => {
  const map = new TempoMap({
    ticks_per_quarter: 12,
    tempi: [
      [0, 120],
      [48, 60],
      [96, 240],
    ],
  });

  it("tell the moment of a place", () => {
    expect([0, 4, 6, 8, 12].map((quarter) => map.second(quarter))).toEqual([0, 2, 4, 6, 7]);
  });

  it("tell the place of a moment, which is the inverse", () => {
    for (const quarter of [0, 1.5, 4, 7.25, 8, 30])
      expect(map.quarter(map.second(quarter))).toBeCloseTo(quarter, 9);
  });

  it("are 120 where nothing is said", () => {
    expect(new TempoMap({ ticks_per_quarter: 12, tempi: [] }).second(2)).toBe(1);
    expect(new TempoMap({ ticks_per_quarter: 12, tempi: [[24, 60]] }).second(4)).toBe(3);
  });

  it("are shown as minutes and seconds", () => {
    expect([0, 59.9, 60, 3661].map(clock)).toEqual(["0:00", "0:59", "1:00", "61:01"]);
  });
});
