// Names and colours of the instruments of a piece.
import { type Score, players } from "../score/score";

const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

export function keyName(key: number): string {
  return `${NAMES[key % 12]}${Math.floor(key / 12) - 1}`;
}

/** The place of an instrument among those of its piece, by which it has its colour. */
export function trackNumber(score: Score): (instrument: number) => number {
  const places = new Map(players(score).map((instrument, place) => [instrument, place]));
  return (instrument) => places.get(instrument) ?? 0;
}

/** "slow-strings" as people read it. */
export function readable(name: string): string {
  const words = name.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
