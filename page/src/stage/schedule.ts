// Which notes begin and end between two places of a piece, in order; pure.
import type { Columns } from "../score/score";

export interface Stroke {
  on: boolean;
  quarter: number;
  instrument: number;
  pitch: number;
  velocity: number;
}

/** Hands out the strokes of a piece stretch by stretch, and remembers which notes are still to end. */
export class Strokes {
  private next = 0;
  private sounding: Stroke[] = [];

  constructor(
    private readonly notes: Columns,
    from: number,
  ) {
    const tick = from * notes.ticks_per_quarter - 1e-6;
    const first = notes.onset.findIndex((onset) => onset >= tick);
    this.next = first < 0 ? notes.onset.length : first;
  }

  /** The same place in another version of the piece, a longer draft say: what sounds still ends. */
  movedTo(notes: Columns, from: number): Strokes {
    const moved = new Strokes(notes, from);
    moved.sounding = this.sounding;
    return moved;
  }

  /** All strokes before a place that were not handed out yet. */
  until(quarter: number): Stroke[] {
    const found: Stroke[] = [];
    const per = this.notes.ticks_per_quarter;
    for (; this.next < this.notes.onset.length; this.next++) {
      const at = this.notes.onset[this.next]! / per;
      if (at >= quarter) break;
      this.end(at, found);
      this.begin(this.next, at, per, found);
    }
    this.end(quarter, found);
    return found;
  }

  /** Ends of all that sounds, where a loop turns. */
  rest(quarter: number): Stroke[] {
    const found = this.sounding.map((each) => ({ ...each, quarter }));
    this.sounding = [];
    return found;
  }

  private begin(n: number, at: number, per: number, found: Stroke[]): void {
    const [instrument, pitch] = [this.notes.instrument[n]!, this.notes.pitch[n]!];
    // A key that is struck again ends first: its synthesiser knows one note a key.
    const again = this.sounding.findIndex((each) => each.instrument === instrument && each.pitch === pitch);
    if (again >= 0) found.push({ ...this.sounding.splice(again, 1)[0]!, quarter: at });
    found.push({ on: true, quarter: at, instrument, pitch, velocity: this.notes.velocity[n]! });
    this.sounding.push({
      on: false,
      quarter: at + this.notes.duration[n]! / per,
      instrument,
      pitch,
      velocity: 0,
    });
  }

  private end(quarter: number, found: Stroke[]): void {
    const due = this.sounding.filter((each) => each.quarter <= quarter).sort((a, b) => a.quarter - b.quarter);
    if (!due.length) return;
    found.push(...due);
    this.sounding = this.sounding.filter((each) => each.quarter > quarter);
  }
}
