// Composing as it goes on: the request, the candidates as they are written, and the music that it starts from.
import { batch, computed, effect, signal } from "@preact/signals";
import { type ComposeRequest, type Piece, type Place, Refusal, type Told, api, follow, told } from "../api";
import { type Columns, type Draft, type Score, barCount, merged, scoreOf } from "../score/score";
import { say } from "../say";
import { type Song, active, owner, player, playing } from "../stage/player";
import { instrumentName, open, usableModels } from "../state";
import { queued } from "../waiting";
import { DOES, type Task, USUAL, type Wishes, encoded, parseBars, taskOf, wishesOf } from "./wishes";

export interface Source {
  kind: "file" | "piece";
  id: string;
  name: string;
  score: Score;
}

export interface Candidate {
  song: Song;
  written: Columns | null;
  piece: Piece | null;
}

export const OWNER = "compose";
const KEPT = "cadenza.wishes";

interface Kept {
  wishes: Wishes;
  model: string;
  name: string;
}

const kept = remembered();

export const wishes = signal<Wishes>(kept?.wishes ?? USUAL);
export const model = signal(kept?.model ?? "bundled");
export const name = signal(kept?.name ?? "");
export const task = signal<Task>("new");
export const source = signal<Source | null>(null);
export const candidates = signal<Candidate[]>([]);
/** Which is looked at: 0 the source, else a candidate. */
export const picked = signal(1);
export const job = signal<string | null>(null);
/** What is before it in the queue, in words. */
export const waitingFor = signal("");
export const problem = signal("");
export const remarks = signal<string[]>([]);
export const expected = signal(0);

effect(() => {
  localStorage.setItem(KEPT, JSON.stringify({ wishes: wishes.value, model: model.value, name: name.value }));
});

effect(() => {
  const usable = usableModels.value;
  if (usable.length && !usable.some((each) => each.id === model.value)) model.value = "bundled";
});

/** What was wished for last time; nothing if that cannot be read, as after an update. */
function remembered(): Partial<Kept> | null {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEPT) ?? "null");
    return typeof found === "object" ? found : null;
  } catch {
    return null;
  }
}

export const sourceSong = computed<Song | null>(() => {
  const from = source.value;
  return (
    from && {
      id: `source ${from.id}`,
      title: from.name,
      kind: from.kind,
      source: from.id,
      score: from.score,
      complete: true,
    }
  );
});

/** What keys 0 to 8 switch between: the source first, if there is one. */
export const songs = computed<Song[]>(() => {
  const written = candidates.value.map((each) => each.song);
  return sourceSong.value ? [sourceSong.value, ...written] : written;
});

const offset = () => (sourceSong.value ? 0 : 1);

export const shown = computed<Song | null>(() => songs.value[picked.value - offset()] ?? null);
export const shownCandidate = computed<Candidate | null>(() => candidates.value[picked.value - 1] ?? null);
export const chosenBars = computed<[number, number][]>(() => {
  if (task.value === "prompt" && source.value) {
    const bars = Number(wishes.value.prompt_bars);
    return [[1, bars >= 1 ? bars : barCount(source.value.score)]];
  }
  return task.value === "infill" || task.value === "vary" ? parseBars(wishes.value.fill_bars ?? "") : [];
});

export function wish(change: Wishes): void {
  wishes.value = { ...wishes.value, ...change };
}

/** Bars were chosen on the roll of the source. */
export function chooseBars(first: number, last: number): void {
  if (task.peek() === "prompt") wish({ prompt_bars: String(last) });
  else wish({ fill_bars: first === last ? String(first) : `${first}-${last}` });
}

/** Look at one, and hear it from where the other was. */
export function pick(number: number): void {
  const index = number - offset();
  if (!songs.value[index]) return;
  picked.value = number;
  if (owner.value === OWNER) player.switchTo(index);
  else {
    const goesOn = playing.peek();
    player.load(songs.value, index, OWNER);
    if (goesOn) void player.play();
  }
}

/** Hear what is looked at. */
export async function hear(): Promise<void> {
  if (owner.peek() !== OWNER) player.load(songs.peek(), picked.peek() - offset(), OWNER);
  await player.play();
}

// The deck follows what is written, as long as the player is at it.
effect(() => {
  const now = songs.value;
  if (owner.peek() === OWNER && now.length) player.refresh(now, picked.peek() - offset());
});

effect(() => {
  if (owner.value === OWNER) picked.value = active.value + offset();
});

/** Start from music: a file or a piece, for a task. */
export async function startFrom(
  use: Task,
  from: { kind: "file" | "piece"; id: string; name: string } | null,
): Promise<void> {
  problem.value = "";
  if (!from) {
    batch(() => {
      source.value = null;
      task.value = use;
    });
    return;
  }
  const score = await (from.kind === "file" ? api.fileScore(from.id) : api.pieceScore(from.id));
  const bars = barCount(score);
  batch(() => {
    if (source.peek()?.id !== from.id) candidates.value = [];
    source.value = { ...from, score };
    task.value = use;
    picked.value = 0;
    const middle = `${Math.max(1, Math.round(bars / 2) - 1)}-${Math.min(bars, Math.round(bars / 2) + 2)}`;
    wish({ prompt_bars: "", fill_bars: use === "infill" ? middle : "", tracks: "" });
  });
  if (!playing.peek()) player.load(songs.peek(), 0, OWNER);
  open("compose");
  // What was pressed is gone; its form is at the top.
  window.scrollTo(0, 0);
  document.querySelector<HTMLElement>(".wishes select")?.focus();
}

interface Announced {
  id: string;
  number: number;
}

interface Ended {
  state: string;
  reason: string;
}

let line: AbortController | null = null;

export async function compose(): Promise<void> {
  const request: ComposeRequest = {
    model: model.peek(),
    name: name.peek().trim() || defaultName(),
    options: encoded(wishes.peek(), task.peek()),
  };
  const from = source.peek();
  if (task.peek() !== "new") {
    if (!from) {
      problem.value = "Choose the music to start from first.";
      return;
    }
    request.music = { use: task.peek() as Exclude<Task, "new">, [from.kind]: from.id };
  }
  player.warm();
  await send(request);
}

function defaultName(): string {
  const from = source.peek();
  return from && task.peek() !== "new"
    ? `${from.name.replace(/\.midi?$/i, "")}, ${DOES[task.peek()].toLowerCase()}`
    : "Piece";
}

async function send(request: ComposeRequest): Promise<void> {
  line?.abort();
  line = new AbortController();
  batch(() => {
    problem.value = "";
    remarks.value = [];
  });
  try {
    const begun = await api.compose(request);
    const num = Number(request.options["num"] ?? 4);
    expected.value = request.music ? 0 : Number(request.options["bars"] ?? 0);
    // What plays goes on; only who listened to nothing hears the new piece by itself.
    const quiet = !playing.peek();
    if (!quiet && owner.peek() === OWNER) owner.value = `${OWNER} before`;
    batch(() => {
      candidates.value = Array.from({ length: num }, (_, n) => empty(begun.id, n, request.name));
      picked.value = 1;
      job.value = begun.id;
      waitingFor.value = queued({ before: begun.before ?? 0, wait: begun.wait ?? null });
    });
    say(`Composing ${num === 1 ? "one piece" : `${num} pieces`}.`);
    if (quiet) player.load(songs.peek(), 1 - offset(), OWNER);
    showResults();
    await watch(begun.id, quiet, line.signal);
  } catch (error) {
    problem.value = told(error);
    job.value = null;
  }
}

/** Where the form fills the screen, what comes of it is below. */
function showResults(): void {
  requestAnimationFrame(() => {
    const results = document.querySelector(".results");
    if (results && results.getBoundingClientRect().top > window.innerHeight * 0.6)
      results.scrollIntoView({ block: "start" });
  });
}

function empty(jobId: string, n: number, title: string): Candidate {
  const blank = {
    ticks_per_quarter: 12,
    onset: [],
    duration: [],
    pitch: [],
    velocity: [],
    instrument: [],
    tempi: [],
    metres: [],
  };
  const song: Song = {
    id: `${jobId} ${n}`,
    title: `${title} ${n + 1}`,
    kind: "piece",
    source: null,
    score: scoreOf(blank, instrumentName),
    complete: false,
  };
  return { song, written: null, piece: null };
}

async function watch(id: string, autoplay: boolean, signal: AbortSignal): Promise<void> {
  let begun = !autoplay;
  const arriving: Promise<void>[] = [];
  const take = ({ event, data }: Told) => {
    waitingFor.value = event === "queue" ? queued(data as Place) : "";
    if (event === "draft") draft(data as Draft);
    else if (event === "piece") arriving.push(ready(data as Announced, id).then(start));
    else if (event === "note") remarks.value = [...remarks.peek(), sentence((data as { text: string }).text)];
    else if (event === "end") void Promise.all(arriving).then(() => ended(data as Ended, id));
    if (event === "draft") start();
  };
  const start = () => {
    if (begun || owner.peek() !== OWNER || !songs.peek()[picked.peek() - offset()]?.score.onset.length)
      return;
    begun = true;
    void player.play();
  };
  try {
    await follow(id, take, signal);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    problem.value = error.message;
  } finally {
    if (job.peek() === id) job.value = null;
  }
}

function change(n: number, to: (before: Candidate) => Candidate): void {
  candidates.value = candidates.peek().map((each, index) => (index === n ? to(each) : each));
}

function draft(found: Draft): void {
  change(found.piece - 1, (before) => {
    if (before.piece) return before;
    const written = merged(before.written, found);
    return { ...before, written, song: { ...before.song, score: scoreOf(written, instrumentName) } };
  });
}

async function ready({ id, number }: Announced, jobId: string): Promise<void> {
  try {
    const [piece, score] = await Promise.all([api.piece(id), api.pieceScore(id)]);
    if (!candidates.peek()[number - 1]?.song.id.startsWith(jobId)) return;
    change(number - 1, (before) => ({
      ...before,
      piece,
      song: { ...before.song, title: piece.name, source: piece.id, score, complete: true },
    }));
    say(`Candidate ${number} is ready.`);
  } catch (error) {
    problem.value = told(error);
  }
}

function ended({ state, reason }: Ended, jobId: string): void {
  if (state === "done") return;
  if (state === "failed") problem.value = sentence(reason);
  else say("Stopped; what was ready is kept.");
  // Candidates that will never come would wait for ever.
  candidates.value = candidates
    .peek()
    .filter((each) => each.song.complete || !each.song.id.startsWith(jobId));
  if (!candidates.peek().length && owner.peek() === OWNER && !sourceSong.peek()) player.load([], 0, "");
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

export async function stop(): Promise<void> {
  if (job.peek()) await api.stop(job.peek()!);
}

/** The same settings as a piece's, with its seed or another. */
export async function again(piece: Piece, sameSeed: boolean): Promise<void> {
  const use = taskOf(piece);
  const music = use === "new" ? null : piece.request.music![use];
  if (music) {
    const kind = music.file ? "file" : "piece";
    const id = (music.file ?? music.piece)!;
    await startFrom(use, { kind, id, name: piece.request.name });
  } else await startFrom("new", null);
  batch(() => {
    wishes.value = wishesOf(piece, sameSeed);
    model.value = piece.request.model ?? piece.model_id;
    name.value = piece.request.name === "Piece" ? "" : piece.request.name;
  });
  open("compose");
  await compose();
}

/** After a reload: go on with what is being composed, or show what was composed last. */
export async function resume(): Promise<void> {
  const running = (await api.jobs()).find((each) => each.kind === "compose");
  if (running) {
    const num = Number((running.request["options"] as { num?: number }).num ?? 4);
    candidates.value = Array.from({ length: num }, (_, n) =>
      empty(running.id, n, String(running.request["name"])),
    );
    job.value = running.id;
    line = new AbortController();
    await watch(running.id, false, line.signal);
    return;
  }
  const [latest] = (await api.pieces({ limit: 20 })).filter((each) => !each.sample && each.job_id);
  if (!latest || candidates.peek().length) return;
  const pieces = (await api.pieces({ job: latest.job_id!, limit: 8 })).sort((a, b) => a.number - b.number);
  const scores = await Promise.all(pieces.map((each) => api.pieceScore(each.id)));
  if (candidates.peek().length) return;
  candidates.value = pieces.map((piece, n) => ({
    piece,
    written: null,
    song: {
      id: piece.id,
      title: piece.name,
      kind: "piece",
      source: piece.id,
      score: scores[n]!,
      complete: true,
    },
  }));
  if (!owner.peek()) player.load(songs.peek(), 1 - offset(), OWNER);
}
