// What is played when: strokes in order, keys struck again, loops, and the clock at any speed.
import { describe, expect, it } from "vitest";
import type { Columns } from "../src/score/score";
import { TempoMap } from "../src/score/timing";
import { Clock } from "../src/stage/clock";
import { Strokes } from "../src/stage/schedule";

function notes(list: [onset: number, duration: number, pitch: number][]): Columns {
  return {
    ticks_per_quarter: 1,
    onset: list.map(([onset]) => onset),
    duration: list.map(([, duration]) => duration),
    pitch: list.map(([, , pitch]) => pitch),
    velocity: list.map(() => 90),
    instrument: list.map(() => 0),
    tempi: [],
    metres: [],
  };
}

const told = (strokes: ReturnType<Strokes["until"]>) =>
  strokes.map(({ on, quarter, pitch }) => `${on ? "+" : "-"}${pitch}@${quarter}`);

describe("strokes", () => {
  it("come in order, ends before beginnings of the same moment", () => {
    const strokes = new Strokes(
      notes([
        [0, 1, 60],
        [0, 2, 64],
        [1, 1, 67],
      ]),
      0,
    );
    expect(told(strokes.until(1))).toEqual(["+60@0", "+64@0", "-60@1"]);
    expect(told(strokes.until(5))).toEqual(["+67@1", "-64@2", "-67@2"]);
    expect(told(strokes.until(9))).toEqual([]);
  });

  it("are the same in one go and in many", () => {
    const piece = notes(Array.from({ length: 40 }, (_, n) => [n / 4, (n % 5) / 2 + 0.25, 50 + (n % 7)]));
    const whole = told(new Strokes(piece, 0).until(20));
    const parts = new Strokes(piece, 0);
    const found = Array.from({ length: 200 }, (_, n) => told(parts.until((n + 1) / 10))).flat();
    expect(found.toSorted()).toEqual(whole.toSorted());
  });

  it("end a key that is struck again before it is struck", () => {
    expect(
      told(
        new Strokes(
          notes([
            [0, 4, 60],
            [1, 1, 60],
          ]),
          0,
        ).until(9),
      ),
    ).toEqual(["+60@0", "-60@1", "+60@1", "-60@2"]);
  });

  it("begin at a place, and leave out what began before", () => {
    expect(
      told(
        new Strokes(
          notes([
            [0, 4, 60],
            [2, 1, 62],
          ]),
          1,
        ).until(3),
      ),
    ).toEqual(["+62@2", "-62@3"]);
  });

  it("go on in a longer version of the piece", () => {
    const before = new Strokes(
      notes([
        [0, 3, 60],
        [1, 1, 62],
      ]),
      0,
    );
    before.until(1);
    const after = before.movedTo(
      notes([
        [0, 3, 60],
        [1, 1, 62],
        [2, 1, 64],
      ]),
      1,
    );
    expect(told(after.until(9))).toEqual(["+62@1", "-62@2", "+64@2", "-60@3", "-64@3"]);
  });

  it("all end where a loop turns", () => {
    const strokes = new Strokes(notes([[0, 8, 60]]), 0);
    strokes.until(2);
    expect(told(strokes.rest(2))).toEqual(["-60@2"]);
    expect(told(strokes.rest(2))).toEqual([]);
  });
});

describe("the clock", () => {
  const tempo = new TempoMap({
    ticks_per_quarter: 1,
    tempi: [
      [0, 60],
      [4, 120],
    ],
  });

  it("follows the tempi at its speed", () => {
    const clock = new Clock(tempo, 10, 2, 2);
    expect(clock.quarterAt(9)).toBe(2);
    expect(clock.quarterAt(11)).toBe(4);
    expect(clock.quarterAt(12)).toBe(8);
  });

  it("tells when a place is heard, the inverse of where it is", () => {
    const clock = new Clock(tempo, 10, 2, 0.5);
    for (const quarter of [2, 3.3, 4, 9])
      expect(clock.quarterAt(clock.timeAt(quarter))).toBeCloseTo(quarter, 9);
  });
});
