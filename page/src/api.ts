// The server's API: one function per request, its answers as types, what it refuses as sentences.
import type { Score } from "./score/score";
import { NoticeParser } from "./sse";

export interface Info {
  version: string;
  can_train: boolean;
  how_to_train: string | null;
  architectures: string[];
  uses: Use[];
  scales: string[];
  moods: string[];
  instruments: string[];
  drum_kits: Record<string, string>;
  formats: string[];
  limits: { num: number; bars: number; upload_bytes: number };
}

export type Use = "prompt" | "infill" | "vary" | "humanise" | "orchestrate";

export interface Model extends Partial<ModelFacts> {
  id: string;
  name: string;
  created: number;
  set_id: string | null;
  /** What is wrong with its folder; then nothing else is known. */
  problem: string;
}

export interface ModelFacts {
  styles: string[];
  architecture: string;
  parameters: number;
  nats_per_note: number;
  pieces: number;
  minutes: number;
  base: string | null;
  knows_originality: boolean;
}

export interface MusicSet {
  id: string;
  name: string;
  created: number;
}

export interface Facts {
  notes?: number;
  seconds?: number;
  key?: string;
  metres?: string[];
  instruments?: string[];
  tempo?: number;
  timing?: string;
}

export interface MusicFile {
  id: string;
  name: string;
  style: string;
  size: number;
  verdict: string;
  reason: string;
  warnings: string[];
  facts: Facts;
}

export interface Totals {
  files: number;
  pieces: number;
  skipped: Record<string, number>;
  notes: number;
  hours: number;
  instruments: Record<string, number>;
  keys: Record<string, number>;
  metres: Record<string, number>;
  styles: Record<string, number>;
  timing: Record<string, number>;
}

export interface FullSet extends MusicSet {
  files: MusicFile[];
  totals: Totals;
  added?: string[];
  problems?: string[];
}

export type Options = Record<string, boolean | number | string | null>;

export interface ComposeRequest {
  model: string;
  name: string;
  options: Options;
  music?: { use: Use; file?: string; piece?: string };
}

export interface TrainRequest {
  set: string;
  name: string;
  minutes: number;
  from_scratch: boolean;
  architecture: string | null;
}

export interface TrainState {
  share_done?: number;
  seconds_left?: number;
  notes_per_second?: number;
  step?: number;
  train_nats?: number | null;
  held_out_nats?: number;
  memorising?: boolean;
  best?: boolean;
}

export interface Job {
  id: string;
  kind: "compose" | "train";
  state: "queued" | "running" | "done" | "failed" | "stopped";
  request: Record<string, unknown>;
  progress: TrainState;
  reason: string;
  stop: boolean;
  before?: number;
  wait?: number | null;
  created: number;
  ended: number | null;
}

export interface Originality {
  longest: { notes: number; piece: string; bars: [number, number]; bars_there: [number, number] } | null;
  share: number;
  may_be_memorised: boolean;
  by_people: { pieces: number; notes: [number, number]; share: [number, number] };
}

export interface Piece {
  id: string;
  job_id: string | null;
  model_id: string;
  name: string;
  number: number;
  sample: boolean;
  star: boolean;
  created: number;
  request: {
    model?: string;
    name: string;
    options?: Options;
    music?: Partial<Record<Use, { file?: string; piece?: string }>>;
  };
  sidecar: {
    seed: number;
    options: Options;
    originality: Originality | null;
    likeness: number;
    model: { name: string };
  };
}

export interface Origin {
  piece: string;
  bars: [number, number];
  bars_there: [number, number];
  score: Score | null;
}

export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

const TOKEN = "cadenza.token";

/** Take the token out of the address, where it would be seen and shared. */
export function takeToken(): void {
  const found = /(?:^#|&)token=([^&]+)/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(TOKEN, decodeURIComponent(found[1]!));
  history.replaceState(null, "", location.pathname + location.search);
}

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { authorization: `Bearer ${token}` } : {};
}

async function ask(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const init: RequestInit = { method, headers: headers(), signal: signal ?? null };
  if (body instanceof FormData) init.body = body;
  else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers(), "content-type": "application/json" };
  }
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal("The studio does not answer. Is `cadenza serve` still running?", 0);
  }
  if (!answer.ok) throw new Refusal(await sentence(answer), answer.status);
  return answer;
}

/** What a refusal says, whether one sentence or a list of what was not understood. */
async function sentence(answer: Response): Promise<string> {
  try {
    const { detail } = (await answer.json()) as { detail?: unknown };
    if (typeof detail === "string") return detail.charAt(0).toUpperCase() + detail.slice(1);
    if (Array.isArray(detail))
      return detail
        .map((each: { loc: string[]; msg: string }) => `${each.loc.at(-1)}: ${each.msg}`)
        .join("; ");
  } catch {
    // No JSON: the status has to do.
  }
  return `The studio answered ${answer.status}.`;
}

async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  return (await (await ask(method, path, body)).json()) as T;
}

export const api = {
  info: () => json<Info>("GET", "/api/info"),
  models: () => json<Model[]>("GET", "/api/models"),
  card: async (id: string) => (await ask("GET", `/api/models/${id}/card`)).text(),
  renameModel: (id: string, name: string) => json<unknown>("PATCH", `/api/models/${id}`, { name }),
  deleteModel: (id: string) => ask("DELETE", `/api/models/${id}`),
  sets: () => json<MusicSet[]>("GET", "/api/sets"),
  addSet: (name: string) => json<MusicSet>("POST", "/api/sets", { name }),
  set: (id: string) => json<FullSet>("GET", `/api/sets/${id}`),
  renameSet: (id: string, name: string) => json<MusicSet>("PATCH", `/api/sets/${id}`, { name }),
  deleteSet: (id: string) => ask("DELETE", `/api/sets/${id}`),
  addFiles: (set: string, form: FormData) => json<FullSet>("POST", `/api/sets/${set}/files`, form),
  fileScore: (id: string) => json<Score>("GET", `/api/files/${id}/score`),
  deleteFile: (id: string) => ask("DELETE", `/api/files/${id}`),
  compose: (request: ComposeRequest) => json<Job>("POST", "/api/compose", request),
  train: (request: TrainRequest) => json<Job>("POST", "/api/train", request),
  jobs: () => json<Job[]>("GET", "/api/jobs"),
  trainings: (hours: number) => json<Job[]>("GET", `/api/jobs?kind=train&hours=${hours}`),
  job: (id: string) => json<Job>("GET", `/api/jobs/${id}`),
  stop: (id: string) => json<Job>("POST", `/api/jobs/${id}/stop`),
  pieces: (query: { limit?: number; before?: number; job?: string } = {}) =>
    json<Piece[]>(
      "GET",
      `/api/pieces?${new URLSearchParams(Object.entries(query).map(([k, v]) => [k, String(v)]))}`,
    ),
  piece: (id: string) => json<Piece>("GET", `/api/pieces/${id}`),
  pieceScore: (id: string) => json<Score>("GET", `/api/pieces/${id}/score`),
  origin: (id: string) => json<Origin>("GET", `/api/pieces/${id}/origin`),
  changePiece: (id: string, change: { name?: string; star?: boolean }) =>
    json<Piece>("PATCH", `/api/pieces/${id}`, change),
  deletePiece: (id: string) => ask("DELETE", `/api/pieces/${id}`),
  file: async (path: string) => (await ask("GET", path)).blob(),
  soundfont: async (instruments: number[]) =>
    (await ask("GET", `/api/soundfont?instruments=${instruments.join(",")}`)).arrayBuffer(),
};

/** Where a job stands in the queue: how many are before it, and the seconds that these will take, if that is known. */
export interface Place {
  before: number;
  wait: number | null;
}

export interface Told {
  event: string;
  data: unknown;
}

const PATIENCE_MS = [250, 500, 1000, 2000, 4000];

/** Follow what a job tells until it ends; a broken line is taken up where it broke. Returns how it ended. */
export async function follow(job: string, take: (told: Told) => void, signal: AbortSignal): Promise<void> {
  let after = 0;
  let broken = 0;
  while (!signal.aborted) {
    try {
      const answer = await ask("GET", `/api/jobs/${job}/notices?after=${after}`, undefined, signal);
      for await (const notice of notices(answer)) {
        broken = 0;
        if (notice.id !== null) after = notice.id;
        take({ event: notice.event, data: JSON.parse(notice.data) as unknown });
        if (notice.event === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.status >= 400 && error.status < 500) throw error;
      if (broken >= PATIENCE_MS.length) throw error;
    }
    await new Promise((wait) => setTimeout(wait, PATIENCE_MS[Math.min(broken++, PATIENCE_MS.length - 1)]));
  }
}

async function* notices(answer: Response) {
  const parser = new NoticeParser();
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield* parser.take(value);
  }
}

/** Any error as a sentence. */
export function told(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
