// Every control of the engine, in groups; only those that the task knows are shown.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { info } from "../state";
import { Choice, Field, Words } from "../ui/parts";
import { name, task, wish, wishes } from "./session";
import { type FieldName, USUAL, encoded, knows, listed } from "./wishes";

const openMore = signal(false);
const TONICS = ["C", "C#", "Db", "D", "Eb", "E", "F", "F#", "Gb", "G", "Ab", "A", "Bb", "B"];
const BASIC: FieldName[] = [
  "bars",
  "surprise",
  "style",
  "num",
  "prompt_bars",
  "fill_bars",
  "tracks",
  "amount",
];

export function MoreWishes() {
  const more = Object.keys(encoded(wishes.value, task.value)).filter(
    (each) => !BASIC.includes(each as FieldName),
  ).length;
  return (
    <details
      class="more"
      open={openMore.value}
      onToggle={(event) => (openMore.value = event.currentTarget.open)}
    >
      <summary>
        More wishes
        {more > 0 && <span class="count">{more} given</span>}
      </summary>
      {openMore.value && (
        <>
          <Character />
          <Players />
          <Chance />
          <button type="button" class="link" onClick={() => (wishes.value = { ...USUAL })}>
            Forget all wishes
          </button>
        </>
      )}
    </details>
  );
}

function Group({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <fieldset class="group">
      <legend>{title}</legend>
      {children}
    </fieldset>
  );
}

interface NumberProps {
  of: FieldName;
  label: string;
  min?: number;
  max?: number;
  step?: number | "any";
  hint?: string;
  placeholder?: string;
}

function Amount({ of, label, ...rest }: NumberProps) {
  if (!knows(task.value, of)) return null;
  return (
    <Field
      label={label}
      type="number"
      placeholder="any"
      {...rest}
      value={wishes.value[of] ?? ""}
      onInput={(value) => wish({ [of]: value })}
    />
  );
}

function Text({
  of,
  label,
  hint,
  placeholder,
  list,
}: {
  of: FieldName;
  label: string;
  hint?: string;
  placeholder?: string;
  list?: readonly string[];
}) {
  if (!knows(task.value, of)) return null;
  return (
    <Field
      label={label}
      placeholder={placeholder ?? "any"}
      hint={hint}
      list={list}
      value={wishes.value[of] ?? ""}
      onInput={(value) => wish({ [of]: value })}
      wide={Boolean(hint)}
    />
  );
}

function Character() {
  if (!knows(task.value, "key")) return null;
  return (
    <Group title="Character">
      {knows(task.value, "mood") && <Mood />}
      <Key />
      <Text of="scale" label="Or these notes alone" placeholder="C E G A" />
      <Amount of="key_strictness" label="Strictness" min={0} max={1} step={0.05} placeholder="1" />
      <Amount of="tempo" label="Tempo" min={20} max={300} />
      <Text of="metre" label="Metre" list={["4/4", "3/4", "2/4", "6/8", "2/2", "12/8"]} />
      <Text of="density" label="Notes in a bar" placeholder="4-12" />
      <Text
        of="form"
        label="Form"
        hint="Parts that return, after ' varied; or free"
        list={["AABA", "AA'BA", "ABAB", "ABA", "free"]}
      />
      <Amount of="max_repeat" label="Longest repeat, bars" min={1} />
    </Group>
  );
}

function Mood() {
  const given = listed(wishes.value.mood);
  const toggle = (word: string) =>
    wish({
      mood: (given.includes(word) ? given.filter((each) => each !== word) : [...given, word]).join(", "),
    });
  return (
    <div class="field field-wide" role="group" aria-label="Mood">
      <span class="label">Mood</span>
      <div class="moods">
        {(info.value?.moods ?? []).map((each) => (
          <button
            type="button"
            key={each}
            class="mood"
            aria-pressed={given.includes(each)}
            onClick={() => toggle(each)}
          >
            {each}
          </button>
        ))}
      </div>
    </div>
  );
}

function Key() {
  const key = wishes.value.key ?? "";
  const [tonic = "", ...rest] = key.split(" ");
  const mode = rest.join(" ") || "major";
  const modes = info.value?.scales ?? ["major", "minor"];
  return (
    <>
      <Choice
        label="Key"
        value={tonic}
        options={[["", "Any"], ...TONICS.map((each) => [each, each] as const)]}
        onChange={(value) => wish({ key: value ? `${value} ${mode}` : "" })}
      />
      <Choice
        label="Mode"
        value={mode}
        options={modes.map((each) => [each, each] as const)}
        onChange={(value) => wish({ key: `${tonic || "C"} ${value}` })}
      />
    </>
  );
}

function Players() {
  if (!knows(task.value, "ranges")) return null;
  const names = [...(info.value?.instruments ?? []), ...Object.values(info.value?.drum_kits ?? {})];
  return (
    <Group title="Players">
      {knows(task.value, "instruments") && (
        <Words
          label="Instruments"
          value={listed(wishes.value.instruments)}
          options={names}
          onChange={(value) => wish({ instruments: value.join(", ") })}
          hint="No others play"
        />
      )}
      {knows(task.value, "must_play") && (
        <Words
          label="Must play"
          value={listed(wishes.value.must_play)}
          options={names}
          onChange={(value) => wish({ must_play: value.join(", ") })}
        />
      )}
      <Text
        of="ranges"
        label="Ranges"
        placeholder="violin: G3-E6"
        hint="Lowest and highest note of an instrument"
      />
      <Amount of="polyphony" label="Notes at once" min={1} />
    </Group>
  );
}

function Chance() {
  return (
    <Group title="Chance">
      <Amount of="seed" label="Seed" min={0} placeholder="drawn" />
      <Amount of="num" label="Candidates" min={1} max={info.value?.limits.num ?? 8} />
      <Amount of="temperature" label="Temperature" min={0} step={0.05} placeholder="model’s" />
      <Amount of="top_p" label="Top-p" min={0} max={1} step={0.05} placeholder="model’s" />
      <Amount of="top_k" label="Top-k" min={0} placeholder="model’s" />
      <Amount of="min_p" label="Min-p" min={0} max={1} step={0.01} placeholder="model’s" />
      {knows(task.value, "original") && (
        <label class="check">
          <input
            type="checkbox"
            checked={wishes.value.original === "true"}
            onChange={(event) => wish({ original: event.currentTarget.checked ? "true" : "" })}
          />
          <span>Draw anew what may be memorised</span>
        </label>
      )}
      <Field
        label="Name of the pieces"
        wide
        placeholder="Piece"
        value={name.value}
        onInput={(value) => (name.value = value)}
      />
    </Group>
  );
}
