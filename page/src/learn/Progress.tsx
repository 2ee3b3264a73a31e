// How a training goes: time left, its curve, what it composes meanwhile, and a way to stop and keep it.
import { useSignal } from "@preact/signals";
import { api, told } from "../api";
import { model } from "../compose/session";
import { player, playing } from "../stage/player";
import { isLive } from "../stage/Stage";
import { open } from "../state";
import { queued } from "../waiting";
import { Icon } from "../ui/icons";
import { IconButton, Problem } from "../ui/parts";
import { type Curve, described, left, plot } from "./curve";
import { type Sample, type Training, dismiss, stopLearning } from "./training";

/** A training that ends before this share of its time has stopped by itself. */
const EARLY = 0.98;
const FRAME = { width: 640, height: 220, left: 36, bottom: 12 };

export function Progress({ training }: { training: Training }) {
  const { job, state, curve, samples, ended, problem } = training;
  const own = useSignal("");
  const share = ended && ended.state !== "failed" ? 1 : (state.share_done ?? 0);
  const stop = () => stopLearning(job.id).catch((error: unknown) => (own.value = told(error)));
  return (
    <section class="panel training" aria-label={`Training of ${String(job.request["name"])}`}>
      <div class="training-top">
        <h2>{String(job.request["name"])}</h2>
        {!ended && (
          <button type="button" class="quiet" disabled={job.stop} onClick={() => void stop()}>
            <Icon name="stop" />
            {job.stop ? "Stopping …" : "Stop and keep"}
          </button>
        )}
        {ended && <IconButton icon="close" label="Put away" onClick={() => dismiss(job.id)} />}
      </div>
      <progress max={1} value={share} aria-label="Learned so far" />
      <p class="hint training-words">{words(training)}</p>
      {(state.memorising || curve.memorising) && (
        <p class="badge badge-warn">
          <Icon name="warn" /> may be memorising: your own pieces are learned ever better, but those held out
          gain nothing any more
        </p>
      )}
      <Problem text={problem || own.value || (ended?.state === "failed" ? ended.reason : "")} />
      {curve.points.length > 1 && <CurvePicture curve={curve} />}
      {samples.length > 0 && (
        <ul class="samples" aria-label="Samples, from first to last">
          {samples.map((each) => (
            <SampleButton key={each.id} sample={each} />
          ))}
        </ul>
      )}
      {training.model && (
        <button
          type="button"
          class="primary"
          onClick={() => ((model.value = training.model!), open("compose"))}
        >
          Compose with it
        </button>
      )}
    </section>
  );
}

function words({ job, state, ended }: Training): string {
  if (ended?.state === "done" && (state.share_done ?? 1) < EARLY)
    return "Learned. It stopped early, since held-out pieces gained nothing any more; what it knew at its best is kept.";
  if (ended)
    return (
      { done: "Learned.", stopped: "Stopped; what it learned is kept.", failed: "It failed." }[ended.state] ??
      ""
    );
  if (job.state === "queued" && !state.share_done)
    return job.before ? `Waits: ${queued({ before: job.before, wait: job.wait ?? null })}.` : "Begins …";
  if (!state.share_done) return "Begins …";
  return [
    `${Math.round(state.share_done * 100)} %`,
    left(state.seconds_left ?? 0),
    state.notes_per_second && `${Math.round(state.notes_per_second).toLocaleString("en-GB")} notes a second`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function CurvePicture({ curve }: { curve: Curve }) {
  const { train, heldOut, dots, ticks } = plot(curve, FRAME);
  return (
    <figure class="curve">
      <svg viewBox={`0 0 ${FRAME.width} ${FRAME.height}`} role="img" aria-label={described(curve)}>
        {ticks.map(({ y, nats }) => (
          <g key={nats}>
            <line x1={FRAME.left} x2={FRAME.width - 8} y1={y} y2={y} class="curve-grid" />
            <text x={FRAME.left - 8} y={y + 4} text-anchor="end">
              {nats}
            </text>
          </g>
        ))}
        <path d={train} class="curve-train" />
        <path d={heldOut} class="curve-held" />
        {dots.map(({ x, y, best }) => (
          <circle key={x} cx={x} cy={y} r={best ? 5 : 3.5} class={best ? "curve-best" : "curve-dot"} />
        ))}
      </svg>
      <figcaption class="hint">
        <span class="key key-train" /> learned from <span class="key key-held" /> held out (nats per note;
        lower is better; large dots: best so far)
        <span class="curve-words">{described(curve)}</span>
      </figcaption>
    </figure>
  );
}

function SampleButton({ sample }: { sample: Sample }) {
  const problem = useSignal("");
  const id = `sample ${sample.id}`;
  const live = isLive(
    { id, title: "", kind: "piece", source: null, score: null as never, complete: true },
    "learn",
  );
  const hear = async () => {
    problem.value = "";
    try {
      if (!live)
        player.load(
          [
            {
              id,
              title: sample.name,
              kind: "piece",
              source: sample.id,
              score: await api.pieceScore(sample.id),
              complete: true,
            },
          ],
          0,
          "learn",
        );
      player.toggle();
    } catch (error) {
      problem.value = told(error);
    }
  };
  return (
    <li>
      <button type="button" class="quiet" onClick={() => void hear()}>
        <Icon name={live && playing.value ? "pause" : "play"} />
        Sample {sample.number}
      </button>
      <Problem text={problem.value} />
    </li>
  );
}
