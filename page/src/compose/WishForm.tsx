// The form: three wishes that most want, and all others behind "More".
import { useSignal } from "@preact/signals";
import { info, models, usableModels } from "../state";
import { Icon } from "../ui/icons";
import { Choice, Field, Problem } from "../ui/parts";
import { MoreWishes } from "./MoreWishes";
import { SourceBox } from "./SourceBox";
import {
  compose,
  job,
  model,
  problem,
  remarks,
  source,
  startFrom,
  stop,
  task,
  waitingFor,
  wish,
  wishes,
} from "./session";
import { DOES, type Task, knows } from "./wishes";

const SURPRISE = ["safest", "safe", "as usual", "bold", "boldest"];

export function WishForm() {
  const { value: now } = wishes;
  const busy = job.value !== null;
  return (
    <form
      class="wishes"
      aria-label="What to compose"
      onSubmit={(event) => {
        event.preventDefault();
        void compose();
      }}
    >
      <Tasks />
      <div class="wishes-simple">
        {knows(task.value, "bars") && <Bars />}
        {task.value !== "humanise" && task.value !== "orchestrate" && (
          <Surprise value={now.surprise || "0.5"} />
        )}
        {knows(task.value, "style") && <Style />}
        {usableModels.value.length > 1 && (
          <Choice
            label="Model"
            value={model.value}
            options={usableModels.value.map((each) => [each.id, each.name])}
            onChange={(value) => (model.value = value)}
            wide
          />
        )}
      </div>
      <MoreWishes />
      <div class="go">
        <Problem text={problem.value} />
        {remarks.value.map((text) => (
          <p class="hint remark" key={text}>
            {text}
          </p>
        ))}
        {busy ? (
          <button type="button" class="primary" onClick={() => void stop()}>
            <Icon name="stop" />
            Stop
          </button>
        ) : (
          <button type="submit" class="primary">
            <Icon name="play" />
            {task.value === "new" ? "Compose" : DOES[task.value]}
          </button>
        )}
        {busy && <span class="hint">{waitingFor.value ? `${waitingFor.value} …` : "Writing …"}</span>}
      </div>
    </form>
  );
}

function Tasks() {
  const choose = (use: Task) => {
    problem.value = "";
    if (use === "new") void startFrom("new", null);
    else if (source.value) void startFrom(use, source.value);
    else task.value = use;
  };
  return (
    <>
      <Choice
        label="Make"
        value={task.value}
        wide
        options={(Object.keys(DOES) as Task[]).map((each) => [each, TASK_WORDS[each]])}
        onChange={(value) => choose(value as Task)}
      />
      {task.value !== "new" && <SourceBox />}
    </>
  );
}

const TASK_WORDS: Record<Task, string> = {
  new: "A new piece",
  prompt: "What goes on from music",
  infill: "Some bars or parts anew",
  vary: "A variation",
  humanise: "A livelier performance",
  orchestrate: "An orchestration",
};

function Bars() {
  const inSeconds = useSignal(Boolean(wishes.value.seconds));
  const most = info.value?.limits.bars ?? 256;
  const text = inSeconds.value ? (wishes.value.seconds ?? "") : (wishes.value.bars ?? "");
  const other = () => {
    inSeconds.value = !inSeconds.value;
    wish(inSeconds.value ? { seconds: "60" } : { seconds: "", bars: wishes.value.bars || "16" });
  };
  return (
    <div class="length">
      <Field
        label={inSeconds.value ? "Length in seconds" : "Length in bars"}
        type="number"
        min={1}
        max={inSeconds.value ? 3600 : most}
        value={text}
        onInput={(value) => wish(inSeconds.value ? { seconds: value } : { bars: value })}
      />
      <button type="button" class="link" onClick={other}>
        {inSeconds.value ? "in bars" : "in seconds"}
      </button>
    </div>
  );
}

function Surprise({ value }: { value: string }) {
  const words = SURPRISE[Math.round(Number(value) * 4)] ?? "";
  return (
    <label class="field surprise">
      <span class="field-line">
        Surprise <span class="hint">{words}</span>
      </span>
      <input
        type="range"
        min={0}
        max={1}
        step={0.05}
        value={value}
        aria-valuetext={words}
        onInput={(event) => wish({ surprise: event.currentTarget.value })}
      />
    </label>
  );
}

function Style() {
  const known = models.value.find((each) => each.id === model.value)?.styles?.filter(Boolean) ?? [];
  const style = wishes.value.style ?? "";
  const mixed = useSignal(style !== "" && !known.includes(style));
  if (!known.length) return null;
  return (
    <>
      <Choice
        label="Style"
        value={mixed.value ? "+" : style}
        options={[["", "Any"], ...known.map((each) => [each, each] as const), ["+", "A mixture …"]]}
        onChange={(value) => {
          mixed.value = value === "+";
          wish({
            style:
              value === "+"
                ? known
                    .slice(0, 2)
                    .map((each, n) => `${each}:${n ? 0.3 : 0.7}`)
                    .join(", ")
                : value,
          });
        }}
      />
      {mixed.value && (
        <Field
          label="Mixture of styles"
          wide
          value={style}
          hint="Each with its share"
          onInput={(value) => wish({ style: value })}
        />
      )}
    </>
  );
}
