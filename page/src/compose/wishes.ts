// What may be asked for when composing: the fields of the form, which task knows which, and their way into a request.
import type { Options, Piece, Use } from "../api";

export type Task = Use | "new";
export type Kind = "whole" | "number" | "text" | "flag";

export interface Field {
  kind: Kind;
  /** Tasks that know it; without any, all do. */
  tasks?: readonly Task[];
}

const FREE: readonly Task[] = ["new", "prompt"];
const FILLING: readonly Task[] = ["infill", "vary"];

export const FIELDS = {
  bars: { kind: "whole", tasks: FREE },
  seconds: { kind: "number", tasks: FREE },
  surprise: { kind: "number" },
  style: { kind: "text", tasks: FREE },
  form: { kind: "text", tasks: FREE },
  mood: { kind: "text", tasks: FREE },
  key: { kind: "text", tasks: [...FREE, ...FILLING] },
  scale: { kind: "text", tasks: [...FREE, ...FILLING] },
  key_strictness: { kind: "number", tasks: FREE },
  tempo: { kind: "number", tasks: FREE },
  metre: { kind: "text", tasks: FREE },
  instruments: { kind: "text", tasks: [...FREE, "orchestrate"] },
  must_play: { kind: "text", tasks: FREE },
  ranges: { kind: "text", tasks: [...FREE, ...FILLING, "orchestrate"] },
  polyphony: { kind: "whole", tasks: [...FREE, ...FILLING] },
  density: { kind: "text", tasks: FREE },
  max_repeat: { kind: "whole", tasks: FREE },
  prompt_bars: { kind: "whole", tasks: ["prompt"] },
  fill_bars: { kind: "text", tasks: FILLING },
  tracks: { kind: "text", tasks: FILLING },
  amount: { kind: "number", tasks: ["vary"] },
  temperature: { kind: "number" },
  top_p: { kind: "number" },
  top_k: { kind: "whole" },
  min_p: { kind: "number" },
  num: { kind: "whole" },
  seed: { kind: "whole" },
  original: { kind: "flag", tasks: [...FREE, ...FILLING] },
} as const satisfies Record<string, Field>;

export type FieldName = keyof typeof FIELDS;

/** The form: what stands in its fields, as text; what is empty is left to the model. */
export type Wishes = Partial<Record<FieldName, string>>;

export const USUAL: Wishes = { bars: "16", num: "4", surprise: "0.5", amount: "0.3" };

const LISTED = {
  fill_bars: "bars",
  tracks: "tracks",
  prompt_bars: "bars of the start",
  num: "candidates",
} as const;

export function knows(task: Task, name: FieldName): boolean {
  const { tasks } = FIELDS[name] as Field;
  return !tasks || tasks.includes(task);
}

/** The options of a request: those that the task knows and that are given. */
export function encoded(wishes: Wishes, task: Task): Options {
  const options: Options = {};
  for (const name of Object.keys(FIELDS) as FieldName[]) {
    const text = wishes[name]?.trim() ?? "";
    if (!text || !knows(task, name)) continue;
    const { kind } = FIELDS[name] as Field;
    if (kind === "flag") options[name] = text === "true";
    else if (kind === "text") options[name] = text;
    // What is no number is sent as it stands: the server has the sentence for it.
    else options[name] = Number.isFinite(Number(text)) ? Number(text) : text;
  }
  // Seconds stand in place of bars; the middle of the dial is what the model does by itself.
  if ("seconds" in options) delete options["bars"];
  if (options["surprise"] === 0.5) delete options["surprise"];
  return options;
}

/** The form of a piece that was composed, to compose again. */
export function wishesOf(piece: Piece, sameSeed: boolean): Wishes {
  const wishes: Wishes = { ...USUAL };
  for (const [name, value] of Object.entries(piece.request.options ?? {}))
    if (name in FIELDS && value !== null) wishes[name as FieldName] = String(value);
  if (sameSeed) wishes.seed = String(piece.sidecar.seed);
  else delete wishes.seed;
  return wishes;
}

export function taskOf(piece: Piece): Task {
  return (Object.keys(piece.request.music ?? {})[0] as Use | undefined) ?? "new";
}

export const DOES: Record<Task, string> = {
  new: "New piece",
  prompt: "Continue",
  infill: "Fill bars",
  vary: "Vary",
  humanise: "Humanise",
  orchestrate: "Orchestrate",
};

/** The settings of a piece in one line. */
export function summary(piece: Piece): string {
  const task = taskOf(piece);
  const parts: string[] = task === "new" ? [] : [DOES[task].toLowerCase()];
  for (const [name, value] of Object.entries(piece.request.options ?? {})) {
    if (value === null || name === "seed" || name === "num" || !(name in FIELDS)) continue;
    if (name === "bars") parts.push(`${value} bars`);
    else if (FIELDS[name as FieldName].kind === "flag") parts.push(name);
    else parts.push(`${LISTED[name as keyof typeof LISTED] ?? name.replaceAll("_", " ")} ${value}`);
  }
  return parts.join(", ");
}

/** First and last bars from "9-12, 17"; what is not understood is left out. */
export function parseBars(text: string): [first: number, last: number][] {
  return text.split(",").flatMap((part): [number, number][] => {
    const found = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part);
    if (!found) return [];
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    return first >= 1 && last >= first ? [[first, last]] : [];
  });
}

/** Names in a list such as "violin, cello". */
export function listed(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean);
}
