// Pieces by day and by the request that they come from, in the order in which they came; pure.
import type { Piece } from "../api";

export interface Day {
  day: string;
  requests: Piece[][];
}

/** pieces: the newest first. */
export function grouped(pieces: Piece[]): Day[] {
  const days: Day[] = [];
  for (const piece of pieces) {
    const day = dayOf(piece);
    if (days.at(-1)?.day !== day) days.push({ day, requests: [] });
    const { requests } = days.at(-1)!;
    const last = requests.at(-1);
    if (last && piece.job_id !== null && last[0]!.job_id === piece.job_id) last.push(piece);
    else requests.push([piece]);
  }
  for (const { requests } of days) for (const each of requests) each.sort((a, b) => a.number - b.number);
  return days;
}

function dayOf(piece: Piece): string {
  return new Date(piece.created * 1000).toLocaleDateString("en-GB", {
    weekday: "long",
    day: "numeric",
    month: "long",
  });
}
