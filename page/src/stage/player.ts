// The one player: pieces (a deck of them, of which one is heard) out of score columns, note by note, a moment ahead of
// the audio clock. Playing notes rather than a MIDI file lets drafts sound while they are written, and makes mute,
// solo, tempo, loop and switching between candidates matters of arithmetic.
import { batch, computed, effect, signal } from "@preact/signals";
import { Refusal } from "../api";
import { type Score, players, quartersOf } from "../score/score";
import { TempoMap } from "../score/timing";
import { Clock } from "./clock";
import { Strokes } from "./schedule";
import { Tones } from "./tones";
import type { Voices } from "./voices";

export interface Song {
  /** Stays the same from the first draft on. */
  id: string;
  title: string;
  kind: "piece" | "file" | "origin";
  /** The id of the composed piece or of the file, once there is one. */
  source: string | null;
  score: Score;
  /** Whether all of it is written. */
  complete: boolean;
}

export interface Loop {
  from: number;
  until: number;
}

const AHEAD_SECONDS = 0.15;
// Timers of a page in the background run once a second.
const AHEAD_SECONDS_HIDDEN = 2.5;
const LOOK_MS = 40;
const LEAD_SECONDS = 0.06;
const PATIENCE_MS = 900;

export const deck = signal<Song[]>([]);
export const active = signal(0);
/** Who put the deck there. */
export const owner = signal("");
export const playing = signal(false);
export const waiting = signal(false);
export const speed = signal(1);
export const volume = signal(0.8);
export const loop = signal<Loop | null>(null);
export const muted = signal<ReadonlySet<number>>(new Set());
export const solo = signal<ReadonlySet<number>>(new Set());
export const soundProblem = signal("");
/** Changes whenever the place does other than by playing on. */
export const moved = signal(0);

export const song = computed<Song | null>(() => deck.value[active.value] ?? null);

export function isHeard(instrument: number): boolean {
  return solo.value.size ? solo.value.has(instrument) : !muted.value.has(instrument);
}

function reason(error: unknown): string {
  // Where the server knows no soundfonts there is nothing more to say.
  return error instanceof Refusal && error.status !== 404 ? error.message : "";
}

function sameTempi(one: Score, other: Score): boolean {
  const plain = ({ tempi, ticks_per_quarter }: Score) =>
    tempi.map(([tick, qpm]) => `${tick / ticks_per_quarter} ${qpm}`).join();
  return plain(one) === plain(other);
}

class Player {
  private context: AudioContext | null = null;
  private output: GainNode | null = null;
  private tones: Tones | null = null;
  private samples: Promise<Voices> | null = null;
  private voices: Voices | null = null;
  private clock: Clock | null = null;
  private strokes: Strokes | null = null;
  private timer = 0;
  private place = 0;
  private planned = 0;
  private plannedTime = 0;
  private known: Score | null = null;
  private playedId = "";
  private refused = false;

  constructor() {
    effect(() => this.follow(song.value));
    effect(() => {
      // Of all pieces on the deck, so that switching finds their instruments ready.
      if (deck.value.length && this.samples && playing.peek()) void this.choose(false);
    });
    effect(() => {
      if (this.output && this.context)
        this.output.gain.setTargetAtTime(volume.value, this.context.currentTime, 0.02);
    });
    effect(() => this.balance());
    document.addEventListener("visibilitychange", () => {
      if (playing.peek() && this.clock) this.plan();
    });
    let before = speed.value;
    effect(() => {
      if (speed.value === before) return;
      this.place = this.position();
      before = speed.value;
      if (playing.peek()) this.begin();
    });
  }

  /** Where it is, in quarters, as it is heard. */
  position(): number {
    if (!this.clock || !this.context || !playing.peek() || waiting.peek()) return this.place;
    const heard = this.context.currentTime - (this.context.outputLatency || 0);
    return Math.min(this.clock.quarterAt(heard), this.limit());
  }

  /** Open the audio while the user's gesture still counts, and begin to load. */
  warm(): void {
    if (this.context) {
      void this.context.resume();
      return;
    }
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.output = this.context.createGain();
    this.output.gain.value = volume.peek();
    this.output.connect(this.context.destination);
    this.tones = new Tones(this.context, this.output);
    const [context, output] = [this.context, this.output];
    this.samples = import("./samples").then(({ Samples }) => Samples.create(context, output));
    this.samples.catch(() => undefined);
  }

  async play(): Promise<void> {
    const now = song.peek();
    if (!now || playing.peek()) return;
    this.warm();
    if (now.complete && this.place >= quartersOf(now.score) - 1e-3) this.place = loop.peek()?.from ?? 0;
    playing.value = true;
    await this.choose();
    if (playing.peek()) this.begin();
  }

  pause(): void {
    if (!playing.peek()) return;
    this.place = this.position();
    playing.value = false;
    waiting.value = false;
    this.silence();
  }

  toggle(): void {
    if (playing.peek()) this.pause();
    else void this.play();
  }

  seek(quarter: number): void {
    const now = song.peek();
    if (!now) return;
    this.place = Math.max(0, Math.min(quarter, quartersOf(now.score)));
    moved.value++;
    if (playing.peek()) this.begin();
  }

  /** Put other pieces on the deck. */
  load(songs: Song[], index: number, by: string): void {
    this.pause();
    this.place = 0;
    batch(() => {
      loop.value = null;
      muted.value = solo.value = new Set();
      deck.value = songs;
      active.value = Math.min(Math.max(index, 0), Math.max(0, songs.length - 1));
      owner.value = by;
      moved.value++;
    });
  }

  /** Newer versions of the pieces on the deck. */
  refresh(songs: Song[], index: number): void {
    batch(() => {
      deck.value = songs;
      active.value = Math.min(Math.max(index, 0), songs.length - 1);
    });
  }

  switchTo(index: number): void {
    if (index < 0 || index >= deck.peek().length || index === active.peek()) return;
    this.place = this.position();
    active.value = index;
    moved.value++;
  }

  /** React to another piece, or another version of it. */
  private follow(now: Song | null): void {
    const score = now?.score ?? null;
    if (score === this.known) return;
    const before = this.known;
    const grown = before !== null && this.strokes !== null && this.playedId === now?.id;
    this.known = score;
    if (!score || !playing.peek()) return;
    if (grown && this.clock) {
      this.strokes = this.strokes!.movedTo(score, this.planned);
      if (!waiting.peek() && !sameTempi(before!, score)) {
        const time = this.context!.currentTime;
        this.clock = new Clock(new TempoMap(score), time, this.clock.quarterAt(time), speed.peek());
      }
    } else this.begin();
  }

  /** Take the sampled instruments if they come in time, and plain tones until then. */
  private async choose(patient = true): Promise<void> {
    // What was refused is asked for again by who presses play, not by every note that is written.
    if (this.refused && !patient) return;
    this.refused = false;
    const instruments = [...new Set(deck.peek().flatMap((each) => players(each.score)))];
    const ready = this.samples!.then(async (samples) => {
      await samples.prepare(instruments);
      soundProblem.value = "";
      this.use(samples);
    }).catch((error: unknown) => {
      this.refused = true;
      soundProblem.value =
        `The instruments could not be loaded, so plain tones are played. ${reason(error)}`.trim();
      this.use(this.tones!);
    });
    if (!patient) return;
    await Promise.race([ready, new Promise((late) => setTimeout(late, PATIENCE_MS))]);
    if (!this.voices) this.use(this.tones!);
  }

  private use(voices: Voices): void {
    if (voices === this.voices) return;
    const sounding = this.voices && this.clock && playing.peek();
    if (sounding) {
      this.place = this.position();
      this.voices!.silence(this.plannedTime);
    }
    this.voices = voices;
    this.balance();
    if (sounding) this.begin();
  }

  private balance(): void {
    const score = song.value?.score;
    const heard = score ? players(score).map((each) => [each, isHeard(each)] as const) : [];
    for (const [instrument, is] of heard) this.voices?.audible(instrument, is);
  }

  private begin(): void {
    const now = song.peek();
    if (!now || !this.context || !this.voices) return;
    this.silence();
    this.balance();
    const start = this.context.currentTime + LEAD_SECONDS;
    this.clock = new Clock(new TempoMap(now.score), start, this.place, speed.peek());
    this.strokes = new Strokes(now.score, this.place);
    this.playedId = now.id;
    this.planned = this.place;
    waiting.value = false;
    window.clearInterval(this.timer);
    this.timer = window.setInterval(() => this.plan(), LOOK_MS);
    this.plan();
  }

  private silence(): void {
    window.clearInterval(this.timer);
    this.voices?.silence(this.plannedTime + 0.02);
  }

  /** How far it may play: to its end, or to where it is written. */
  private limit(): number {
    const now = song.peek();
    if (!now) return 0;
    const { score } = now;
    if (now.complete) return quartersOf(score);
    return (score.onset.at(-1) ?? 0) / score.ticks_per_quarter;
  }

  private plan(): void {
    const now = this.context!.currentTime;
    const horizon = now + (document.hidden ? AHEAD_SECONDS_HIDDEN : AHEAD_SECONDS);
    if (waiting.peek()) {
      if (this.limit() - this.place < 0.5 && !song.peek()?.complete) return;
      this.begin();
      return;
    }
    for (let turns = 0; turns < 64; turns++) {
      const turn = this.turn();
      const until = Math.min(this.clock!.quarterAt(horizon), turn);
      this.send(this.strokes!.until(until));
      this.planned = until;
      if (until < turn) return;
      if (!this.turnBack(turn, now)) return;
    }
  }

  /** The place at which playing ends, waits or goes back. */
  private turn(): number {
    const around = loop.peek();
    const limit = this.limit();
    return around && this.planned < around.until && around.until <= limit ? around.until : limit;
  }

  /** At a turn: back to the start of the loop, or wait, or stop. Returns whether there is more to plan. */
  private turnBack(turn: number, now: number): boolean {
    const around = loop.peek();
    const time = this.clock!.timeAt(turn);
    if (around && Math.abs(turn - around.until) < 1e-6) {
      this.send(this.strokes!.rest(turn));
      this.clock = new Clock(new TempoMap(song.peek()!.score), time, around.from, speed.peek());
      this.strokes = new Strokes(song.peek()!.score, around.from);
      this.planned = around.from;
      return true;
    }
    if (now < time) return false;
    this.place = turn;
    this.send(this.strokes!.rest(turn));
    if (song.peek()?.complete) {
      playing.value = false;
      window.clearInterval(this.timer);
      moved.value++;
    } else waiting.value = true;
    return false;
  }

  private send(strokes: ReturnType<Strokes["until"]>): void {
    for (const { on, quarter, instrument, pitch, velocity } of strokes) {
      const time = Math.max(this.clock!.timeAt(quarter), this.context!.currentTime);
      this.plannedTime = Math.max(this.plannedTime, time);
      if (on) this.voices!.noteOn(instrument, pitch, velocity, time);
      else this.voices!.noteOff(instrument, pitch, time);
    }
  }
}

export const player = new Player();
