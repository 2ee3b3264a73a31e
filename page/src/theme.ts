// Light or dark: as the system has it, unless somebody chose, which is kept.
import { effect, signal } from "@preact/signals";

const KEPT = "cadenza.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const chosen = localStorage.getItem(KEPT);

export const dark = signal(chosen ? chosen === "dark" : system.matches);

system.addEventListener("change", () => {
  if (!localStorage.getItem(KEPT)) dark.value = system.matches;
});

effect(() => {
  document.documentElement.dataset["theme"] = dark.value ? "dark" : "light";
});

export function toggleTheme(): void {
  dark.value = !dark.value;
  localStorage.setItem(KEPT, dark.value ? "dark" : "light");
}
