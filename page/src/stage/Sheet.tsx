// Sheet music of a file or a composed piece, whose cursor follows what is heard. The engraver is large and comes only when asked.
import { useSignal, useSignalEffect } from "@preact/signals";
import type { OpenSheetMusicDisplay } from "opensheetmusicdisplay";
import { useEffect, useRef } from "preact/hooks";
import { api, told } from "../api";
import { dark } from "../theme";
import { moved, player, playing } from "./player";
import type { Song } from "./player";
import { Problem } from "../ui/parts";

export function Sheet({ song, live }: { song: Song; live: boolean }) {
  const paper = useRef<HTMLDivElement>(null);
  const sheet = useSignal<OpenSheetMusicDisplay | null>(null);
  const problem = useSignal("");
  const busy = useSignal(true);

  useEffect(() => {
    let gone = false;
    sheet.value = null;
    problem.value = "";
    busy.value = true;
    engrave(paper.current!, song, () => gone)
      .then((made) => (sheet.value = made))
      .catch((error: unknown) => {
        if (!gone) problem.value = told(error);
      })
      .finally(() => {
        if (!gone) busy.value = false;
      });
    return () => {
      gone = true;
      paper.current?.replaceChildren();
    };
  }, [song.source, dark.value]);

  useSignalEffect(() => {
    void [moved.value, playing.value];
    const made = sheet.value;
    if (!made || !live) return;
    let timer = 0;
    const tick = () => {
      follow(made, player.position() / 4);
      if (playing.peek()) timer = window.setTimeout(tick, 60);
    };
    tick();
    return () => window.clearTimeout(timer);
  });

  return (
    <div
      class="sheet"
      tabIndex={0}
      role="region"
      aria-label={`Sheet music of ${song.title}`}
      aria-busy={busy.value}
    >
      {busy.value && <p class="hint">Engraving …</p>}
      <Problem text={problem.value} />
      <div ref={paper} class="sheet-paper" />
    </div>
  );
}

async function engrave(
  paper: HTMLElement,
  song: Song,
  isGone: () => boolean,
): Promise<OpenSheetMusicDisplay | null> {
  if (song.kind === "origin" || !song.source)
    throw new Error("Sheet music is made of files and of composed pieces, once they are ready.");
  const [{ OpenSheetMusicDisplay: Display }, text] = await Promise.all([
    import("opensheetmusicdisplay"),
    api.file(`/api/${song.kind}s/${song.source}.musicxml`).then((blob) => blob.text()),
  ]);
  if (isGone()) return null;
  paper.replaceChildren();
  const ink = getComputedStyle(paper);
  const display = new Display(paper, {
    autoResize: true,
    backend: "svg",
    drawTitle: false,
    drawComposer: false,
    drawPartNames: true,
    defaultColorMusic: ink.color,
    followCursor: false,
    cursorsOptions: [
      { type: 0, color: ink.getPropertyValue("--playhead").trim() || "#c33", alpha: 0.4, follow: false },
    ],
  });
  await display.load(text);
  if (isGone()) return null;
  display.zoom = paper.clientWidth < 500 ? 0.55 : 0.75;
  display.render();
  display.cursor.show();
  return display;
}

/** Bring the cursor to a place in whole notes, and into view. */
function follow({ cursor }: OpenSheetMusicDisplay, place: number): void {
  const here = () => cursor.iterator.currentTimeStamp.RealValue;
  if (here() > place + 1e-6) cursor.reset();
  let moves = 0;
  for (;;) {
    const ahead = cursor.iterator.clone();
    ahead.moveToNext();
    if (ahead.EndReached || ahead.currentTimeStamp.RealValue > place + 1e-6) break;
    cursor.next();
    moves++;
  }
  if (moves) cursor.cursorElement?.scrollIntoView({ block: "nearest", inline: "nearest" });
}
