// The music to start from: which it is, which of its bars and instruments are meant, and how much is changed.
import { useSignal, useSignalEffect } from "@preact/signals";
import { type Piece, api, told } from "../api";
import { barCount, players } from "../score/score";
import { sets } from "../state";
import { Choice, Field, Problem, Words } from "../ui/parts";
import { source, startFrom, task, wish, wishes } from "./session";
import { knows, listed } from "./wishes";

interface Offer {
  value: string;
  words: string;
}

async function offers(): Promise<Offer[]> {
  const pieces = (await api.pieces({ limit: 30 })).map((each: Piece) => ({
    value: `piece ${each.id}`,
    words: each.name,
  }));
  const files = await Promise.all(
    sets
      .peek()
      .slice(0, 5)
      .map((each) => api.set(each.id)),
  );
  const mine = files.flatMap(({ name, files: all }) =>
    all
      .filter((each) => each.facts.notes)
      .map((each) => ({ value: `file ${each.id}`, words: `${name}: ${each.name}` })),
  );
  return [...mine, ...pieces];
}

export function SourceBox() {
  const found = useSignal<Offer[]>([]);
  const problem = useSignal("");
  useSignalEffect(() => {
    void sets.value;
    offers().then(
      (all) => (found.value = all),
      (error: unknown) => (problem.value = told(error)),
    );
  });
  const now = source.value;
  const value = now ? `${now.kind} ${now.id}` : "";
  const choose = async (text: string) => {
    const [kind, id] = text.split(" ") as ["file" | "piece", string];
    problem.value = "";
    try {
      await startFrom(
        task.peek(),
        text ? { kind, id, name: found.peek().find((each) => each.value === text)?.words ?? "Music" } : null,
      );
    } catch (error) {
      problem.value = told(error);
    }
  };
  const known =
    found.value.some((each) => each.value === value) || !now
      ? found.value
      : [{ value, words: now.name }, ...found.value];
  return (
    <div class="source">
      <Choice
        label="From"
        wide
        value={value}
        options={[["", "Choose music …"], ...known.map((each) => [each.value, each.words] as const)]}
        onChange={(text) => void choose(text)}
      />
      {!known.length && <p class="hint">Bring files under “My music”, or compose a piece first.</p>}
      <Problem text={problem.value} />
      {now && <Bars total={barCount(now.score)} />}
      {now && knows(task.value, "tracks") && (
        <Words
          label="Instruments that are new"
          value={listed(wishes.value.tracks)}
          options={players(now.score).map((each) => now.score.instruments[each]!)}
          onChange={(names) => wish({ tracks: names.join(", ") })}
          hint="Those of the piece, or others in addition"
        />
      )}
      {knows(task.value, "amount") && (
        <label class="field field-wide">
          <span class="field-line">
            How much is changed{" "}
            <span class="hint">{Math.round(Number(wishes.value.amount || 0.3) * 100)} % of the bars</span>
          </span>
          <input
            type="range"
            min={0.05}
            max={1}
            step={0.05}
            value={wishes.value.amount || "0.3"}
            onInput={(event) => wish({ amount: event.currentTarget.value })}
          />
        </label>
      )}
    </div>
  );
}

function Bars({ total }: { total: number }) {
  if (task.value === "prompt")
    return (
      <Field
        label="From its first bars"
        type="number"
        min={1}
        max={total}
        wide
        placeholder={`all ${total}`}
        value={wishes.value.prompt_bars ?? ""}
        hint="Or drag over the roll"
        onInput={(value) => wish({ prompt_bars: value })}
      />
    );
  if (!knows(task.value, "fill_bars")) return null;
  return (
    <Field
      label={task.value === "infill" ? "Bars to fill" : "Among these bars"}
      wide
      placeholder={task.value === "infill" ? "all, of the instruments named" : "all"}
      value={wishes.value.fill_bars ?? ""}
      hint={`Such as 9-12, 17; or drag over the roll. It has ${total}.`}
      onInput={(value) => wish({ fill_bars: value })}
    />
  );
}
