// A piece as the server tells it (columns of numbers in ticks), and how drafts grow into one.

export interface Columns {
  ticks_per_quarter: number;
  onset: number[];
  duration: number[];
  pitch: number[];
  velocity: number[];
  instrument: number[];
  tempi: [tick: number, quartersPerMinute: number][];
  metres: [tick: number, numerator: number, denominator: number][];
}

export interface Score extends Columns {
  bar_lines: number[];
  end: number;
  seconds: number;
  key: string | null;
  instruments: Record<string, string>;
}

export interface Draft extends Columns {
  piece: number;
  from: number;
}

export const FIRST_KIT = 128;

const NOTE_COLUMNS = ["onset", "duration", "pitch", "velocity", "instrument"] as const;

/** What is written so far, with what a draft adds: its notes replace those from `from` on. */
export function merged(before: Columns | null, draft: Draft): Columns {
  const columns: Columns = {
    ticks_per_quarter: draft.ticks_per_quarter,
    tempi: draft.tempi,
    metres: draft.metres,
    onset: [],
    duration: [],
    pitch: [],
    velocity: [],
    instrument: [],
  };
  for (const name of NOTE_COLUMNS)
    columns[name] = [...(before?.[name].slice(0, draft.from) ?? []), ...draft[name]];
  return columns;
}

/** Ticks of the bar lines from 0 to the first at or after `end`; a new metre starts a bar. */
export function barLines(metres: Columns["metres"], ticksPerQuarter: number, end: number): number[] {
  const changes =
    metres.length && metres[0]![0] === 0 ? metres : ([[0, 4, 4], ...metres] as Columns["metres"]);
  const lines: number[] = [];
  changes.forEach(([tick, numerator, denominator], index) => {
    const length = Math.max(1, Math.round((4 * ticksPerQuarter * numerator) / denominator));
    const until = changes[index + 1]?.[0] ?? Math.max(end, tick) + length;
    for (let at = tick; at < until; at += length) lines.push(at);
  });
  const last = lines.findIndex((line) => line >= end);
  return last < 0 ? lines : lines.slice(0, last + 1);
}

/** A score of columns alone, such as a draft's. */
export function scoreOf(columns: Columns, nameOf: (instrument: number) => string): Score {
  const end = columns.onset.reduce((most, onset, n) => Math.max(most, onset + columns.duration[n]!), 0);
  const numbers = [...new Set(columns.instrument)].sort((a, b) => a - b);
  return {
    ...columns,
    end,
    bar_lines: barLines(columns.metres, columns.ticks_per_quarter, end),
    seconds: 0,
    key: null,
    instruments: Object.fromEntries(numbers.map((number) => [number, nameOf(number)])),
  };
}

/** Numbers of the instruments that play, in order. */
export function players(score: Score): number[] {
  return Object.keys(score.instruments)
    .map(Number)
    .sort((a, b) => a - b);
}

/** How many bars there are. */
export function barCount(score: Score): number {
  return Math.max(1, score.bar_lines.length - 1);
}

/** The bar, counted from 1, in which a place in quarters lies. */
export function barAt(score: Score, quarters: number): number {
  const tick = quarters * score.ticks_per_quarter + 1e-6;
  let low = 0;
  let high = score.bar_lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (score.bar_lines[middle]! <= tick) low = middle + 1;
    else high = middle;
  }
  return Math.min(Math.max(low, 1), barCount(score));
}

/** Where bar number `bar` (from 1; one past the last is the end) begins, in quarters. */
export function barStart(score: Score, bar: number): number {
  const index = Math.min(Math.max(bar - 1, 0), score.bar_lines.length - 1);
  return (score.bar_lines[index] ?? 0) / score.ticks_per_quarter;
}

/** The length in quarters. */
export function quartersOf(score: Score): number {
  return score.end / score.ticks_per_quarter;
}
