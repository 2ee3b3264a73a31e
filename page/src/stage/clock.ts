// Where a piece is at a moment of the audio clock, at any speed; pure, so that it can be tested without sound.
import type { TempoMap } from "../score/timing";

export class Clock {
  constructor(
    private readonly tempo: TempoMap,
    private readonly time: number,
    private readonly quarter: number,
    private readonly speed: number,
  ) {}

  quarterAt(time: number): number {
    if (time <= this.time) return this.quarter;
    return this.tempo.quarter(this.tempo.second(this.quarter) + (time - this.time) * this.speed);
  }

  timeAt(quarter: number): number {
    return this.time + (this.tempo.second(quarter) - this.tempo.second(this.quarter)) / this.speed;
  }
}
