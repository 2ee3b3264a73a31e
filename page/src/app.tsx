// The page: its head, the views, the player, and the keys that work everywhere.
import { useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ComposeView } from "./compose/ComposeView";
import { Help } from "./help";
import { said } from "./say";
import { player } from "./stage/player";
import { Transport } from "./stage/Transport";
import { VIEWS, type View, begin, info, startProblem, view } from "./state";
import { dark, toggleTheme } from "./theme";
import { IconButton, Problem } from "./ui/parts";

/** Views that are not seen first come when they are opened. */
const LATER: Record<Exclude<View, "compose">, () => Promise<ComponentType>> = {
  music: () => import("./music/MusicView").then((found) => found.MusicView),
  learn: () => import("./learn/LearnView").then((found) => found.LearnView),
  history: () => import("./history/HistoryView").then((found) => found.HistoryView),
};

function Shown() {
  const loaded = useSignal<Partial<Record<View, ComponentType>>>({ compose: ComposeView });
  const problem = useSignal("");
  const name = view.value;
  useEffect(() => {
    if (name === "compose" || loaded.peek()[name]) return;
    problem.value = "";
    LATER[name]().then(
      (found) => (loaded.value = { ...loaded.peek(), [name]: found }),
      () => (problem.value = "This part of the page could not be loaded; reload the page."),
    );
  }, [name]);
  const Found = loaded.value[name];
  return Found ? <Found /> : <Problem text={problem.value} />;
}

export function App() {
  const help = useSignal(false);
  const title = useRef<HTMLHeadingElement>(null);
  const seen = useRef(view.peek());
  useEffect(() => {
    window.addEventListener("pointerdown", () => player.warm(), { once: true });
    window.addEventListener("keydown", () => player.warm(), { once: true });
  }, []);
  useSignalEffect(() => {
    document.title = `${VIEWS[view.value]} · Cadenza`;
    if (seen.current !== view.value) title.current?.focus();
    seen.current = view.value;
  });
  return (
    <>
      <header class="head">
        <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), title.current?.focus())}>
          To the content
        </a>
        <span class="brand">
          <Logo /> Cadenza
        </span>
        <nav aria-label="Views">
          {(Object.keys(VIEWS) as View[]).map((each) => (
            <a key={each} href={`#${each}`} aria-current={view.value === each ? "page" : undefined}>
              {VIEWS[each]}
            </a>
          ))}
        </nav>
        <div class="head-tools">
          <IconButton
            icon={dark.value ? "sun" : "moon"}
            label={dark.value ? "Light" : "Dark"}
            onClick={toggleTheme}
          />
          <IconButton icon="help" label="Keys and help" onClick={() => (help.value = true)} />
        </div>
      </header>
      <main>
        <h1 ref={title} tabIndex={-1}>
          {VIEWS[view.value]}
        </h1>
        <Problem text={startProblem.value} />
        {startProblem.value && (
          <button type="button" class="quiet" onClick={() => void begin()}>
            Try again
          </button>
        )}
        {info.value && <Shown />}
      </main>
      <Transport />
      <p class="unseen" role="status" aria-live="polite">
        {said.value}
      </p>
      {help.value && <Help onClose={() => (help.value = false)} />}
    </>
  );
}

function Logo() {
  return (
    <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="var(--accent)" />
      <g fill="var(--on-accent)">
        <rect x="6" y="19" width="9" height="4" rx="2" />
        <rect x="11" y="14" width="7" height="4" rx="2" />
        <rect x="17" y="9" width="9" height="4" rx="2" />
      </g>
    </svg>
  );
}
