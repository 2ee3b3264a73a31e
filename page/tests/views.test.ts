// What the views tell in words and numbers: uploads, verdicts, curves, days.
import { describe, expect, it } from "vitest";
import type { Piece } from "../src/api";
import { grouped } from "../src/history/grouped";
import { NO_CURVE, described, left, plot, withState } from "../src/learn/curve";
import { portions, wanted } from "../src/music/upload";
import { facts, verdict } from "../src/music/verdicts";

const file = (size: number) => ({ path: "a.mid", file: { size } as File });

describe("uploads", () => {
  it("go in portions of bounded size and number, none lost", () => {
    const found = [5, 5, 5, 20, 1].map(file);
    expect(portions(found, 10, 9).map((each) => each.map(({ file: { size } }) => size))).toEqual([
      [5, 5],
      [5],
      [20],
      [1],
    ]);
    expect(portions(found, 100, 2).map((each) => each.length)).toEqual([2, 2, 1]);
    expect(portions([])).toEqual([]);
  });

  it("leave out what systems hide in folders", () => {
    const paths = ["a/b.mid", "a/.DS_Store", "__MACOSX/a/b.mid", ".x/b.mid"];
    expect(wanted(paths.map((path) => ({ path, file: {} as File }))).map(({ path }) => path)).toEqual([
      "a/b.mid",
    ]);
  });
});

describe("verdicts", () => {
  it("are plain words with a tone", () => {
    expect(verdict({ verdict: "ok", reason: "", warnings: [] })).toMatchObject({
      tone: "good",
      short: "Learned from",
    });
    expect(verdict({ verdict: "ok", reason: "", warnings: ["no metre given: taken as 4/4"] })).toMatchObject({
      tone: "warn",
      long: "No metre given: taken as 4/4.",
    });
    expect(verdict({ verdict: "unreadable", reason: "no header", warnings: [] })).toEqual({
      tone: "bad",
      short: "Could not be read",
      long: "No header.",
    });
    expect(verdict({ verdict: "duplicate of a b.mid", reason: "x", warnings: [] }).short).toBe(
      "Same as a b.mid",
    );
    expect(verdict({ verdict: "too short", reason: "3 notes, fewer than 20", warnings: [] }).short).toBe(
      "Left out: too short",
    );
  });

  it("come with what is known of a file", () => {
    expect(
      facts({
        facts: {
          notes: 3,
          key: "D minor",
          metres: ["3/4"],
          tempo: 90.4,
          seconds: 65,
          instruments: ["slow-strings"],
        },
      }),
    ).toBe("D minor · 3/4 · 90 a minute · 1:05 · Slow strings");
    expect(facts({ facts: {} })).toBe("");
  });
});

describe("the curve of learning", () => {
  const curve = [
    { share_done: 0.1, train_nats: 6 },
    { share_done: 0.2, train_nats: 5, held_out_nats: 5.5, best: true, memorising: false },
    { share_done: 0.6, train_nats: 3, held_out_nats: 5.8, best: false, memorising: true },
  ].reduce(withState, NO_CURVE);

  it("has a line for each and a dot for what was measured", () => {
    const found = plot(curve, { width: 640, height: 220, left: 36, bottom: 12 });
    expect(found.train.match(/[ML]/g)).toEqual(["M", "L", "L"]);
    expect(found.dots.map(({ best }) => best)).toEqual([true, false]);
    expect(found.dots[0]!.y).toBeGreaterThan(0);
    expect(found.ticks.length).toBeGreaterThan(1);
  });

  it("is told in words", () => {
    expect(described(curve)).toBe(
      "On held-out pieces 5.50 nats per note at first, 5.80 now, 5.50 at best; 3.00 on those it learns from. It may be memorising.",
    );
    expect(described(NO_CURVE)).toBe("Nothing is measured yet.");
  });

  it("keeps what was measured when there is too much of it", () => {
    let long = curve;
    for (let n = 0; n < 2000; n++) long = withState(long, { share_done: n / 2000, train_nats: 4 });
    expect(long.points.length).toBeLessThan(1000);
    expect(long.points.filter(({ heldOut }) => heldOut !== null)).toHaveLength(2);
  });

  it("says what is left as people do", () => {
    expect([2, 42, 200, 8000].map(left)).toEqual([
      "a few seconds left",
      "40 seconds left",
      "3 minutes left",
      "2.2 hours left",
    ]);
  });
});

describe("history", () => {
  const piece = (job_id: string | null, number: number, created: number) =>
    ({ id: `${job_id}${number}`, job_id, number, created }) as Piece;

  it("keeps the candidates of a request together, by day", () => {
    const day = 86_400;
    const found = grouped([
      piece("b", 2, 10 * day),
      piece("b", 1, 10 * day),
      piece(null, 1, 10 * day),
      piece("a", 1, 8 * day),
    ]);
    expect(found.map(({ requests }) => requests.map((each) => each.map(({ id }) => id)))).toEqual([
      [["b1", "b2"], ["null1"]],
      [["a1"]],
    ]);
  });
});
