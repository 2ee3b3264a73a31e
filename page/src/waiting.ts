// How long something takes, and what is before it, in words; pure.
import type { Place } from "./api";

/** About how long. */
export function duration(seconds: number): string {
  if (seconds < 5) return "a few seconds";
  if (seconds < 90) return `${Math.round(seconds / 5) * 5} seconds`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} minutes` : `${(minutes / 60).toFixed(1)} hours`;
}

/** What is before it in the queue; nothing if nothing is. */
export function queued({ before, wait }: Place): string {
  if (!before) return "";
  return `${before} before this one${wait === null ? "" : `, about ${duration(wait)}`}`;
}
