// Learning a model from a set: what from, how long, how it goes, and the models that came of it.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { told } from "../api";
import { info, open, sets } from "../state";
import { Choice, Empty, Field, Problem } from "../ui/parts";
import { Models } from "./Models";
import { Progress } from "./Progress";
import { learn, learnFrom, lookUp, trainings } from "./training";

const KINDS: Record<string, string> = { transformer: "Transformer", lstm: "LSTM", gru: "GRU" };

export function LearnView() {
  const problem = useSignal("");
  useEffect(() => {
    lookUp().catch((error: unknown) => (problem.value = told(error)));
  }, []);
  return (
    <div class="learn">
      <section class="panel" aria-label="Learn">
        <LearnForm />
        <Problem text={problem.value} />
      </section>
      <div class="learn-side">
        {trainings.value.map((each) => (
          <Progress key={each.job.id} training={each} />
        ))}
        <Models />
      </div>
    </div>
  );
}

function LearnForm() {
  const set = useSignal(learnFrom.peek() ?? sets.peek()[0]?.id ?? "");
  const scratch = useSignal(false);
  const kind = useSignal("transformer");
  const minutes = useSignal("3");
  const name = useSignal("");
  const problem = useSignal("");
  const busy = useSignal(false);
  const can = info.value?.can_train ?? false;
  if (!sets.value.length)
    return (
      <Empty title="Nothing to learn from yet">
        <p>Bring files under “My music” first.</p>
        <button type="button" class="primary" onClick={() => open("music")}>
          Bring music
        </button>
      </Empty>
    );
  const submit = async () => {
    problem.value = "";
    busy.value = true;
    const from = sets.peek().find((each) => each.id === set.value) ?? sets.peek()[0]!;
    try {
      await learn({
        set: from.id,
        name: name.value.trim() || from.name,
        minutes: Number(minutes.value),
        from_scratch: scratch.value,
        architecture: scratch.value ? kind.value : null,
      });
    } catch (error) {
      problem.value = told(error);
    }
    busy.value = false;
  };
  return (
    <form
      class="learn-form"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Choice
        label="Learn from"
        value={set.value}
        options={sets.value.map((each) => [each.id, each.name])}
        onChange={(value) => (set.value = value)}
      />
      <fieldset class="choices">
        <legend>Begin with</legend>
        <label class="check">
          <input
            type="radio"
            name="start"
            checked={!scratch.value}
            onChange={() => (scratch.value = false)}
          />
          <span>
            The bundled model
            <small class="hint">It knows music already: best for little music and little time.</small>
          </span>
        </label>
        <label class="check">
          <input type="radio" name="start" checked={scratch.value} onChange={() => (scratch.value = true)} />
          <span>
            Nothing
            <small class="hint">A network that learns from your music alone; give it longer.</small>
          </span>
        </label>
      </fieldset>
      {scratch.value && (
        <Choice
          label="Kind of network"
          value={kind.value}
          options={(info.value?.architectures ?? []).map((each) => [each, KINDS[each] ?? each])}
          onChange={(value) => (kind.value = value)}
        />
      )}
      <Field
        label="Minutes"
        type="number"
        min={0.05}
        max={1440}
        step="any"
        value={minutes.value}
        onInput={(value) => (minutes.value = value)}
      />
      <Field
        label="Name of the model"
        placeholder={sets.value.find((each) => each.id === set.value)?.name ?? "My model"}
        value={name.value}
        onInput={(value) => (name.value = value)}
      />
      <div class="go">
        <button
          type="submit"
          class="primary"
          disabled={!can || busy.value}
          aria-describedby={can ? undefined : "no-torch"}
        >
          Learn
        </button>
        {!can && (
          <p id="no-torch" class="hint">
            Learning needs torch, which is not installed here. Type <code>{info.value?.how_to_train}</code>{" "}
            and start the studio again. Composing works without it.
          </p>
        )}
      </div>
      <Problem text={problem.value} />
    </form>
  );
}
