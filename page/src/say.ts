// What screen readers are told while something goes on: one polite live region for the whole page.
import { signal } from "@preact/signals";

export const said = signal("");

export function say(text: string): void {
  // The same words twice would not be read twice.
  said.value = said.peek() === text ? `${text}\u00a0` : text;
}
