// From the form to the options of a request, and back from a piece.
import { describe, expect, it } from "vitest";
import type { Piece } from "../src/api";
import { USUAL, encoded, parseBars, summary, taskOf, wishesOf } from "../src/compose/wishes";

const piece = (request: Partial<Piece["request"]>): Piece =>
  ({ name: "x", request: { name: "x", ...request }, sidecar: { seed: 7 } }) as unknown as Piece;

describe("wishes", () => {
  it("that are usual ask for bars and candidates alone", () => {
    expect(encoded(USUAL, "new")).toEqual({ bars: 16, num: 4 });
  });

  it("become numbers, texts and flags", () => {
    const found = encoded(
      { tempo: " 96 ", key: "D minor", original: "true", top_k: "0", surprise: "0.7" },
      "new",
    );
    expect(found).toEqual({ tempo: 96, key: "D minor", original: true, top_k: 0, surprise: 0.7 });
  });

  it("that a task does not know are left out", () => {
    const all = {
      ...USUAL,
      key: "C major",
      tempo: "90",
      fill_bars: "2-3",
      amount: "0.5",
      instruments: "flute",
    };
    expect(encoded(all, "infill")).toEqual({ num: 4, key: "C major", fill_bars: "2-3" });
    expect(encoded(all, "vary")).toEqual({ num: 4, key: "C major", fill_bars: "2-3", amount: 0.5 });
    expect(encoded(all, "orchestrate")).toEqual({ num: 4, instruments: "flute" });
    expect(encoded(all, "humanise")).toEqual({ num: 4 });
  });

  it("of seconds stand in place of bars", () => {
    expect(encoded({ ...USUAL, seconds: "60" }, "new")).toEqual({ num: 4, seconds: 60 });
  });

  it("that are no numbers go as they are, for the server to refuse", () => {
    expect(encoded({ tempo: "fast" }, "new")).toEqual({ tempo: "fast" });
  });

  it("of a piece ask for the same again", () => {
    const options = { bars: 8, num: 4, key: "D minor", original: true, seed: null };
    expect(encoded(wishesOf(piece({ options }), true), "new")).toEqual({
      bars: 8,
      num: 4,
      key: "D minor",
      original: true,
      seed: 7,
    });
    expect(encoded(wishesOf(piece({ options }), false), "new")).not.toHaveProperty("seed");
  });

  it("are told in one line", () => {
    expect(summary(piece({ options: { bars: 8, num: 4, key: "D minor", original: true } }))).toBe(
      "8 bars, key D minor, original",
    );
    const filled = piece({ options: { fill_bars: "2-3", num: 4 }, music: { infill: { file: "a" } } });
    expect([taskOf(filled), summary(filled)]).toEqual(["infill", "fill bars, bars 2-3"]);
  });

  it("for bars are understood as the server does", () => {
    expect(parseBars("9-12, 17")).toEqual([
      [9, 12],
      [17, 17],
    ]);
    expect(parseBars("12-9, x, 0, ")).toEqual([]);
  });
});
