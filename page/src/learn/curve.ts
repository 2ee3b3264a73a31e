// The curve of learning: from notices to points, and from points to lines and words; pure.
import type { TrainState } from "../api";
import { duration } from "../waiting";

export interface Point {
  share: number;
  train: number | null;
  heldOut: number | null;
  best: boolean;
}

export interface Curve {
  points: Point[];
  memorising: boolean;
}

export const NO_CURVE: Curve = { points: [], memorising: false };
const MOST_POINTS = 400;

export function withState(curve: Curve, state: TrainState): Curve {
  const point: Point = {
    share: state.share_done ?? 0,
    train: state.train_nats ?? null,
    heldOut: state.held_out_nats ?? null,
    best: state.best ?? false,
  };
  const points = [...curve.points, point];
  return { points: thinned(points), memorising: state.memorising ?? curve.memorising };
}

/** Every second point of those in between is dropped when there are too many; what was measured stays. */
function thinned(points: Point[]): Point[] {
  if (points.length <= MOST_POINTS) return points;
  return points.filter((point, n) => point.heldOut !== null || n % 2 === 0 || n === points.length - 1);
}

export interface Frame {
  width: number;
  height: number;
  left: number;
  bottom: number;
}

export interface Plot {
  train: string;
  heldOut: string;
  dots: { x: number; y: number; best: boolean }[];
  ticks: { y: number; nats: number }[];
}

export function plot({ points }: Curve, { width, height, left, bottom }: Frame): Plot {
  const values = points
    .flatMap(({ train, heldOut }) => [train, heldOut])
    .filter((each) => each !== null && Number.isFinite(each)) as number[];
  const [low, high] = range(values);
  const x = (share: number) => left + share * (width - left - 8);
  const y = (nats: number) => 8 + ((high - nats) / (high - low)) * (height - bottom - 16);
  const line = (of: (point: Point) => number | null) =>
    points
      .filter((point) => of(point) !== null)
      .map((point, n) => `${n ? "L" : "M"}${x(point.share).toFixed(1)} ${y(of(point)!).toFixed(1)}`)
      .join("");
  const ticks = [];
  const step = high - low > 6 ? 2 : high - low > 2.5 ? 1 : 0.5;
  for (let nats = Math.ceil(low / step) * step; nats <= high; nats += step) ticks.push({ nats, y: y(nats) });
  return {
    train: line((point) => point.train),
    heldOut: line((point) => point.heldOut),
    dots: points
      .filter((point) => point.heldOut !== null)
      .map((point) => ({ x: x(point.share), y: y(point.heldOut!), best: point.best })),
    ticks,
  };
}

function range(values: number[]): [low: number, high: number] {
  if (!values.length) return [0, 10];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = Math.max(0.25, (high - low) * 0.08);
  return [low - margin, high + margin];
}

/** The same in words. */
export function described({ points, memorising }: Curve): string {
  const measured = points.filter((point) => point.heldOut !== null);
  if (!measured.length) return "Nothing is measured yet.";
  const [first, last] = [measured[0]!.heldOut!, measured.at(-1)!.heldOut!];
  const best = Math.min(...measured.map((point) => point.heldOut!));
  const train = points.findLast((point) => point.train !== null)?.train;
  const parts = [
    `On held-out pieces ${first.toFixed(2)} nats per note at first, ${last.toFixed(2)} now, ${best.toFixed(2)} at best`,
  ];
  if (train !== undefined && train !== null) parts.push(`${train.toFixed(2)} on those it learns from`);
  return `${parts.join("; ")}.${memorising ? " It may be memorising." : ""}`;
}

/** Seconds left as people say it. */
export function left(seconds: number): string {
  return `${duration(seconds)} left`;
}
