// Trainings that go on: followed from wherever they are, so that a reload loses nothing.
import { signal } from "@preact/signals";
import { type Job, type Told, type TrainRequest, type TrainState, api, follow, told } from "../api";
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

function change(id: string, to: (before: Training) => Training): void {
  trainings.value = trainings.peek().map((each) => (each.job.id === id ? to(each) : each));
}

/** Follow all trainings that have not ended. */
export async function lookUp(): Promise<void> {
  for (const job of await api.jobs()) if (job.kind === "train") watch(job);
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
}

function watch(job: Job): void {
  if (followed.has(job.id)) return;
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
  switch (event) {
    case "progress":
    case "evaluation": {
      const state = data as TrainState;
      if (event === "evaluation")
        say(
          `${Math.round((state.share_done ?? 0) * 100)} percent learned; ${state.held_out_nats?.toFixed(2)} nats per note on held-out pieces.${state.memorising ? " It may be memorising." : ""}`,
        );
      return {
        ...before,
        job: { ...before.job, state: "running" },
        state: { ...before.state, ...state },
        curve: withState(before.curve, state),
      };
    }
    case "piece":
      return { ...before, samples: [...before.samples, data as Sample] };
    case "model":
      return { ...before, model: (data as { id: string }).id };
    case "end": {
      const ended = data as { state: string; reason: string };
      say(ended.state === "failed" ? `Learning failed: ${ended.reason}` : "Learning has ended.");
      return { ...before, ended };
    }
    default:
      return before;
  }
}
