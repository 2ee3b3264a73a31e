// Verdicts of files in plain words.
import type { MusicFile } from "../api";
import { clock } from "../score/timing";
import { readable } from "../stage/tracks";

export interface Words {
  tone: "good" | "warn" | "bad";
  short: string;
  long: string;
}

const BAD: Record<string, string> = {
  unreadable: "Could not be read",
  "not MIDI": "Not a MIDI file",
  empty: "Empty",
};

export function verdict({
  verdict: word,
  reason,
  warnings,
}: Pick<MusicFile, "verdict" | "reason" | "warnings">): Words {
  const why = reason ? sentence(reason) : "";
  if (word === "ok") {
    const remarks = warnings.map(sentence).join(" ");
    return warnings.length
      ? { tone: "warn", short: "Learned from, with a remark", long: remarks }
      : { tone: "good", short: "Learned from", long: "" };
  }
  if (word.startsWith("duplicate of "))
    return {
      tone: "warn",
      short: `Same as ${word.slice(13)}`,
      long: "Left out: the same notes, perhaps under another name or instrument.",
    };
  if (word in BAD) return { tone: "bad", short: BAD[word]!, long: why };
  return { tone: "warn", short: `Left out: ${word}`, long: why };
}

function sentence(text: string): string {
  const full = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(full) ? full : `${full}.`;
}

/** What is known of a file, in one line. */
export function facts({ facts: known }: Pick<MusicFile, "facts">): string {
  if (!known.notes) return "";
  const instruments = (known.instruments ?? []).map(readable);
  const names =
    instruments.length > 3
      ? `${instruments.slice(0, 3).join(", ")} and ${instruments.length - 3} more`
      : instruments.join(", ");
  return [
    known.key,
    known.metres?.join(", "),
    known.tempo && `${Math.round(known.tempo)} a minute`,
    known.seconds && clock(known.seconds),
    names,
  ]
    .filter(Boolean)
    .join(" · ");
}
