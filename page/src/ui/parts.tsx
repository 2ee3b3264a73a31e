// Small parts that every view uses: problems, fields, chips, names that can be changed.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";
import { Icon, type IconName } from "./icons";

/** What went wrong, beside what it is about. */
export function Problem({ text }: { text: string }) {
  return (
    <div role="alert" class={text ? "problem" : "problem-none"}>
      {text && (
        <>
          <Icon name="warn" />
          <span>{text}</span>
        </>
      )}
    </div>
  );
}

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: string | undefined;
  placeholder?: string;
  type?: "text" | "number";
  min?: number;
  max?: number;
  step?: number | "any";
  list?: readonly string[] | undefined;
  wide?: boolean;
}

export function Field({ label, value, onInput, hint, list, wide, ...rest }: FieldProps) {
  const id = useId();
  return (
    <div class={`field ${wide ? "field-wide" : ""}`}>
      <label for={id}>{label}</label>
      <input
        id={id}
        autocomplete="off"
        spellcheck={false}
        {...rest}
        value={value}
        list={list ? `${id}-list` : undefined}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {list && (
        <datalist id={`${id}-list`}>
          {list.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: readonly (readonly [value: string, words: string])[];
  onChange: (value: string) => void;
  hint?: string;
  wide?: boolean;
}

export function Choice({ label, value, options, onChange, hint, wide }: ChoiceProps) {
  const id = useId();
  return (
    <div class={`field ${wide ? "field-wide" : ""}`}>
      <label for={id}>{label}</label>
      <select
        id={id}
        value={value}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(event) => onChange(event.currentTarget.value)}
      >
        {options.map(([each, words]) => (
          <option key={each} value={each}>
            {words}
          </option>
        ))}
      </select>
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}

/** Several words out of a list, typed or picked one after the other. */
export function Words({
  label,
  value,
  options,
  onChange,
  hint,
}: {
  label: string;
  value: string[];
  options: readonly string[];
  onChange: (value: string[]) => void;
  hint?: string;
}) {
  const id = useId();
  const typed = useSignal("");
  const input = useRef<HTMLInputElement>(null);
  const add = (text: string) => {
    const words = text
      .split(",")
      .map((each) => each.trim())
      .filter((each) => each && !value.includes(each));
    if (words.length) onChange([...value, ...words]);
    typed.value = "";
  };
  return (
    <div class="field field-wide">
      <label for={id}>{label}</label>
      {value.length > 0 && (
        <ul class="chips">
          {value.map((each) => (
            <li key={each} class="chip">
              {each}
              <button
                type="button"
                aria-label={`Remove ${each} from ${label.toLowerCase()}`}
                onClick={() => {
                  onChange(value.filter((other) => other !== each));
                  input.current?.focus();
                }}
              >
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
      <input
        id={id}
        ref={input}
        autocomplete="off"
        spellcheck={false}
        list={`${id}-list`}
        value={typed.value}
        placeholder="any"
        aria-describedby={hint ? `${id}-hint` : undefined}
        onInput={(event) => {
          typed.value = event.currentTarget.value;
          if (options.includes(typed.value)) add(typed.value);
        }}
        onKeyDown={(event) => {
          if (event.key !== "Enter") return;
          event.preventDefault();
          add(typed.value);
        }}
        onBlur={() => add(typed.value)}
      />
      <datalist id={`${id}-list`}>
        {options
          .filter((each) => !value.includes(each))
          .map((each) => (
            <option key={each} value={each} />
          ))}
      </datalist>
      {hint && (
        <small id={`${id}-hint`} class="hint">
          {hint}
        </small>
      )}
    </div>
  );
}

interface IconButtonProps {
  icon: IconName;
  label: string;
  onClick: (event: MouseEvent) => void;
  pressed?: boolean;
  disabled?: boolean;
  class?: string;
}

export function IconButton({ icon, label, onClick, pressed, disabled, class: more }: IconButtonProps) {
  return (
    <button
      type="button"
      class={`icon-button ${more ?? ""}`}
      aria-label={label}
      title={label}
      aria-pressed={pressed}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

/** A name that can be changed where it stands. */
export function Name({
  value,
  what,
  onChange,
  level,
}: {
  value: string;
  what: string;
  onChange: (name: string) => Promise<void>;
  level?: "h2" | "h3";
}) {
  const editing = useSignal(false);
  const problem = useSignal("");
  const button = useRef<HTMLButtonElement>(null);
  const Heading = level ?? "span";
  const leave = () => {
    editing.value = false;
    requestAnimationFrame(() => button.current?.focus());
  };
  const keep = async (name: string) => {
    const wanted = name.trim();
    try {
      if (wanted && wanted !== value) await onChange(wanted);
      leave();
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    }
  };
  if (!editing.value)
    return (
      <span class="name">
        <Heading class="name-text" title={value}>
          {value}
        </Heading>
        <button
          ref={button}
          type="button"
          class="icon-button name-pen"
          aria-label={`Rename ${what} ${value}`}
          title="Rename"
          onClick={() => (editing.value = true)}
        >
          <Icon name="pen" />
        </button>
      </span>
    );
  return (
    <form
      class="name"
      onSubmit={(event) => {
        event.preventDefault();
        void keep(String(new FormData(event.currentTarget).get("name")));
      }}
    >
      <input
        name="name"
        aria-label={`New name of ${what} ${value}`}
        defaultValue={value}
        maxLength={120}
        ref={(input) => input?.focus()}
        onKeyDown={(event) => event.key === "Escape" && leave()}
      />
      <button type="submit" class="icon-button" aria-label="Keep the name" title="Keep">
        <Icon name="check" />
      </button>
      <Problem text={problem.value} />
    </form>
  );
}

interface SureProps {
  label: string;
  sure: string;
  icon: IconName;
  onSure: () => Promise<void>;
  /** Shows the icon alone. */
  small?: boolean;
}

/** A button that asks once more, for what cannot be undone; the focus never falls out of the page. */
export function Sure({ label, sure, icon, onSure, small }: SureProps) {
  const asked = useSignal(false);
  const place = useRef<HTMLSpanElement>(null);
  const leave = () => {
    asked.value = false;
    requestAnimationFrame(() => place.current?.querySelector("button")?.focus());
  };
  const go = async () => {
    const row = place.current?.closest("li");
    const near = row?.nextElementSibling ?? row?.previousElementSibling;
    await onSure();
    requestAnimationFrame(() => {
      if (document.activeElement !== document.body) return;
      (near?.querySelector<HTMLElement>("button:not(:disabled)") ?? document.querySelector("h1"))?.focus();
    });
  };
  return (
    <span
      class="sure"
      ref={place}
      role={asked.value ? "group" : undefined}
      aria-label={asked.value ? label : undefined}
    >
      {asked.value ? (
        <>
          <button
            type="button"
            class="danger"
            ref={(button) => button?.focus()}
            onClick={() => void go()}
            onKeyDown={(event) => event.key === "Escape" && leave()}
          >
            {sure}
          </button>
          <button type="button" class="quiet" onClick={leave}>
            Keep
          </button>
        </>
      ) : small ? (
        <IconButton icon={icon} label={label} onClick={() => (asked.value = true)} />
      ) : (
        <button type="button" class="quiet" onClick={() => (asked.value = true)}>
          <Icon name={icon} />
          {label}
        </button>
      )}
    </span>
  );
}

/** What is not there yet, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
