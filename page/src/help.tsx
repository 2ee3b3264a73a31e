// Keys that work everywhere, and a dialog that lists them; who does not want them turns them off (WCAG 2.1.4).
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { OWNER, pick, songs } from "./compose/session";
import { deck, owner, player } from "./stage/player";
import { setLoop, toggleLoop } from "./stage/Transport";
import { info, view } from "./state";

const KEPT = "cadenza.keys";
export const keysOn = signal(localStorage.getItem(KEPT) !== "off");

const KEYS = [
  ["Space", "play and pause"],
  ["1 to 8", "switch to a candidate, at the same place"],
  ["0", "switch to what it was made from"],
  ["L", "loop four bars from here, or stop looping"],
  ["[ ]", "begin or end the loop with this bar; or drag over the bar numbers"],
  ["← →", "on the roll: a bar back or on"],
  ["+ −", "on the roll: zoom"],
] as const;

const TYPING = "input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]";
const PRESSING = "button, a, summary, [role=button], input[type=checkbox]";

// A button that was pressed with the pointer keeps the focus, but whoever then presses the space bar means the music.
let pointed: Element | null = null;
let handled = false;

export function listen(): void {
  // A file that is dropped beside its place would replace the page.
  for (const type of ["dragover", "drop"]) window.addEventListener(type, (event) => event.preventDefault());
  window.addEventListener(
    "pointerdown",
    (event) => (pointed = (event.target as HTMLElement).closest(PRESSING)),
  );
  window.addEventListener("focusin", (event) => {
    if (event.target !== pointed) pointed = null;
  });
  window.addEventListener("keydown", (event) => {
    handled = isForAll(event) && act(event.key);
    if (handled) event.preventDefault();
  });
  window.addEventListener("keyup", (event) => {
    if (handled && event.key === " ") event.preventDefault();
  });
}

function isForAll(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  if (!keysOn.peek() || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (target.closest(TYPING) || document.querySelector("dialog[open]")) return false;
  return (
    event.key !== " " ||
    !target.closest(PRESSING) ||
    target.closest(PRESSING) === pointed ||
    target.closest(".card") !== null
  );
}

function act(key: string): boolean {
  if (key === " ") player.toggle();
  else if (key.toLowerCase() === "l") toggleLoop();
  else if (key === "[" || key === "]") setLoop(key === "[" ? "from" : "until");
  else if (/^\d$/.test(key)) switchTo(Number(key));
  else return false;
  return true;
}

function switchTo(number: number): void {
  if ((view.peek() === "compose" || owner.peek() === OWNER) && songs.peek().length) pick(number);
  else if (deck.peek().length > 1) player.switchTo(number - 1);
}

export function Help({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={onClose}>
      <h2 id="help-title">Keys</h2>
      <dl>
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input
          type="checkbox"
          checked={keysOn.value}
          onChange={(event) => {
            keysOn.value = event.currentTarget.checked;
            localStorage.setItem(KEPT, keysOn.value ? "on" : "off");
          }}
        />
        <span>Use these keys</span>
      </label>
      <p class="hint">
        Cadenza {info.value?.version}. Everything stays on this machine; nothing is fetched from elsewhere.
      </p>
      <button type="button" class="primary" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}
