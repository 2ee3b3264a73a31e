// Trainings: followed from wherever they are, so that a reload loses nothing; those that ended lately stay in view.
import { signal } from "@preact/signals";
import {
  type Job,
  type Place,
  type Told,
  type TrainRequest,
  type TrainState,
  api,
  follow,
  told,
} from "../api";
import { say } from "../say";
import { refreshModels } from "../state";
import { type Curve, NO_CURVE, withState } from "./curve";

export interface Sample {
  id: string;
  name: string;
  number: number;
}

export interface Training {
  job: Job;
  state: TrainState;
  curve: Curve;
  samples: Sample[];
  ended: { state: string; reason: string } | null;
  model: string | null;
  problem: string;
}

/** The set to learn from, as chosen elsewhere. */
export const learnFrom = signal<string | null>(null);
export const trainings = signal<Training[]>([]);
const followed = new Set<string>();
const LATELY_HOURS = 24;
const AWAY = "cadenza.put-away";
const MOST_AWAY = 100;

function putAway(): string[] {
  return (localStorage.getItem(AWAY) ?? "").split(" ").filter(Boolean);
}

function change(id: string, to: (before: Training) => Training): void {
  trainings.value = trainings.peek().map((each) => (each.job.id === id ? to(each) : each));
}

/** Follow all trainings that have not ended, and show those that did lately and were not put away. */
export async function lookUp(): Promise<void> {
  const away = putAway();
  for (const job of await api.trainings(LATELY_HOURS)) if (!away.includes(job.id)) watch(job);
}

export async function learn(request: TrainRequest): Promise<void> {
  watch(await api.train(request));
  say("Learning has begun.");
}

export async function stopLearning(id: string): Promise<void> {
  const job = await api.stop(id);
  change(id, (before) => ({ ...before, job }));
}

export function dismiss(id: string): void {
  trainings.value = trainings.peek().filter((each) => each.job.id !== id);
  localStorage.setItem(AWAY, [...putAway(), id].slice(-MOST_AWAY).join(" "));
}

function watch(job: Job): void {
  if (followed.has(job.id) || trainings.peek().some((each) => each.job.id === job.id)) return;
  followed.add(job.id);
  const begun: Training = {
    job,
    state: job.progress,
    curve: NO_CURVE,
    samples: [],
    ended: null,
    model: null,
    problem: "",
  };
  trainings.value = [begun, ...trainings.peek()];
  follow(job.id, (notice) => change(job.id, (before) => after(before, notice)), new AbortController().signal)
    .catch((error: unknown) => change(job.id, (before) => ({ ...before, problem: told(error) })))
    .finally(() => {
      followed.delete(job.id);
      void refreshModels();
    });
}

function after(before: Training, { event, data }: Told): Training {
  // What ended before it was looked at is no news.
  const tell = before.job.ended ? () => undefined : say;
  switch (event) {
    case "progress":
    case "evaluation": {
      const state = data as TrainState;
      if (event === "evaluation")
        tell(
          `${Math.round((state.share_done ?? 0) * 100)} percent learned; ${state.held_out_nats?.toFixed(2)} nats per note on held-out pieces.${state.memorising ? " It may be memorising." : ""}`,
        );
      return {
        ...before,
        job: { ...before.job, state: "running" },
        state: { ...before.state, ...state },
        curve: withState(before.curve, state),
      };
    }
    case "queue":
      return { ...before, job: { ...before.job, ...(data as Place) } };
    case "piece":
      return { ...before, samples: [...before.samples, data as Sample] };
    case "model":
      return { ...before, model: (data as { id: string }).id };
    case "end": {
      const ended = data as { state: string; reason: string };
      tell(ended.state === "failed" ? `Learning failed: ${ended.reason}` : "Learning has ended.");
      return { ...before, ended };
    }
    default:
      return before;
  }
}
