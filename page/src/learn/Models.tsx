// The models there are: what is known of each, to rename, read about, delete and compose with.
import { useSignal } from "@preact/signals";
import { type Model, type ModelFacts, api, told } from "../api";
import { model as composeWith } from "../compose/session";
import { models, open, refreshModels } from "../state";
import { Name, Problem, Sure } from "../ui/parts";

const BUNDLED = "bundled";

export function Models() {
  return (
    <section class="panel" aria-label="Models">
      <h2>Models</h2>
      <ul class="models">
        {models.value.map((each) => (
          <ModelRow key={each.id} model={each} />
        ))}
      </ul>
    </section>
  );
}

function ModelRow({ model }: { model: Model }) {
  const problem = useSignal("");
  const card = useSignal("");
  const tried = async (work: () => Promise<unknown>) => {
    problem.value = "";
    try {
      await work();
    } catch (error) {
      problem.value = told(error);
    }
  };
  const rename = async (name: string) => {
    await api.renameModel(model.id, name);
    await refreshModels();
  };
  return (
    <li class="model">
      <div class="model-line">
        {model.id === BUNDLED ? (
          <b class="name">{model.name}</b>
        ) : (
          <Name value={model.name} what="model" onChange={rename} />
        )}
        <span class="row">
          <button
            type="button"
            class="quiet"
            disabled={!isWhole(model)}
            onClick={() => ((composeWith.value = model.id), open("compose"))}
          >
            Compose with it
          </button>
          <button
            type="button"
            class="quiet"
            disabled={!isWhole(model)}
            aria-expanded={Boolean(card.value)}
            onClick={() =>
              card.value ? (card.value = "") : void tried(async () => (card.value = await api.card(model.id)))
            }
          >
            {card.value ? "Close its card" : "Card"}
          </button>
          {model.id !== BUNDLED && (
            <Sure
              label={`Delete ${model.name}`}
              sure="Delete for good"
              icon="trash"
              small
              onSure={() =>
                tried(async () => {
                  await api.deleteModel(model.id);
                  await refreshModels();
                })
              }
            />
          )}
        </span>
      </div>
      {isWhole(model) && <p class="hint">{described(model)}</p>}
      <Problem text={problem.value || model.problem} />
      {card.value && (
        <pre class="card-text" tabIndex={0} aria-label={`Card of ${model.name}`}>
          {card.value}
        </pre>
      )}
    </li>
  );
}

function isWhole(model: Model): model is Model & ModelFacts {
  return !model.problem;
}

function described(model: ModelFacts): string {
  const minutes =
    model.minutes < 1.5
      ? `${Math.round(model.minutes * 60)} seconds`
      : `${Math.round(model.minutes)} minutes`;
  const parts = [
    model.architecture === "transformer" ? "Transformer" : model.architecture.toUpperCase(),
    `${model.pieces} pieces`,
    `${minutes} of learning`,
    `${model.nats_per_note.toFixed(2)} nats per note`,
  ];
  if (model.base) parts.push(`from the ${model.base} model`);
  const styles = model.styles.filter(Boolean);
  if (styles.length) parts.push(`styles: ${styles.join(", ")}`);
  return parts.join(" · ");
}
