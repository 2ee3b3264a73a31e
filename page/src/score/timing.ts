// Places in a piece (quarters) and moments (seconds), by its tempi.
import type { Columns } from "./score";

interface Stretch {
  quarter: number;
  second: number;
  perMinute: number;
}

export class TempoMap {
  private readonly stretches: Stretch[] = [];

  constructor(columns: Pick<Columns, "tempi" | "ticks_per_quarter">) {
    const tempi = columns.tempi.map(([tick, qpm]) => [tick / columns.ticks_per_quarter, qpm] as const);
    if (!tempi.length || tempi[0]![0] > 0) tempi.unshift([0, 120]);
    let second = 0;
    tempi.forEach(([quarter, perMinute], n) => {
      const before = tempi[n - 1];
      if (before) second += ((quarter - before[0]) * 60) / before[1];
      this.stretches.push({ quarter, second, perMinute });
    });
  }

  /** The moment of a place. */
  second(quarter: number): number {
    const stretch = this.find((each) => each.quarter <= quarter);
    return stretch.second + ((quarter - stretch.quarter) * 60) / stretch.perMinute;
  }

  /** The place of a moment. */
  quarter(second: number): number {
    const stretch = this.find((each) => each.second <= second);
    return stretch.quarter + ((second - stretch.second) * stretch.perMinute) / 60;
  }

  /** Quarters a minute at a place. */
  tempo(quarter: number): number {
    return this.find((each) => each.quarter <= quarter).perMinute;
  }

  private find(holds: (stretch: Stretch) => boolean): Stretch {
    let low = 0;
    let high = this.stretches.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (holds(this.stretches[middle]!)) low = middle;
      else high = middle - 1;
    }
    return this.stretches[low]!;
  }
}

/** Minutes and seconds as 1:05. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
