// What several parts of the page know: what the studio can do, its models, and which view is open.
import { computed, signal } from "@preact/signals";
import { type Info, type Model, type MusicSet, api, told } from "./api";

export const VIEWS = { compose: "Compose", music: "My music", learn: "Learn", history: "History" } as const;
export type View = keyof typeof VIEWS;

export const info = signal<Info | null>(null);
export const models = signal<Model[]>([]);
export const usableModels = computed(() => models.value.filter((each) => !each.problem));
export const sets = signal<MusicSet[]>([]);
export const startProblem = signal("");
export const view = signal<View>(viewOfAddress());

function viewOfAddress(): View {
  const name = location.hash.slice(1);
  return name in VIEWS ? (name as View) : "compose";
}

window.addEventListener("hashchange", () => (view.value = viewOfAddress()));

export function open(name: View): void {
  location.hash = name;
}

export async function begin(): Promise<void> {
  try {
    [info.value, models.value, sets.value] = await Promise.all([api.info(), api.models(), api.sets()]);
    startProblem.value = "";
  } catch (error) {
    startProblem.value = told(error);
  }
}

export async function refreshModels(): Promise<void> {
  models.value = await api.models();
}

export async function refreshSets(): Promise<void> {
  sets.value = await api.sets();
}

export function instrumentName(number: number): string {
  const known = info.peek();
  if (number < 128) return known?.instruments[number] ?? `instrument ${number}`;
  return known?.drum_kits[number - 128] ?? "drums";
}

export function modelName(id: string): string {
  return models.value.find((each) => each.id === id)?.name ?? "a model that was deleted";
}
