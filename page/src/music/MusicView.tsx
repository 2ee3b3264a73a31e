// My music: sets of files that somebody brought, each with its verdict, to hear, to see, to learn from.
import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type FullSet, api, told } from "../api";
import { say } from "../say";
import { open, refreshSets, sets } from "../state";
import { learnFrom } from "../learn/training";
import { Choice, Empty, Name, Problem, Sure } from "../ui/parts";
import { DropZone } from "./DropZone";
import { FileList } from "./FileList";
import { Preview } from "./Preview";
import { type Found, formOf, portions } from "./upload";

export const chosenSet = signal<string | null>(null);
const loaded = signal<FullSet | null>(null);

async function show(id: string | null): Promise<void> {
  chosenSet.value = id;
  if (loaded.peek()?.id !== id) loaded.value = null;
  if (id) {
    const found = await api.set(id);
    if (chosenSet.peek() === id) loaded.value = found;
  }
}

export function MusicView() {
  const problem = useSignal("");
  const problems = useSignal<string[]>([]);
  const progress = useSignal("");
  const tried = async (work: () => Promise<unknown>) => {
    problem.value = "";
    try {
      await work();
    } catch (error) {
      problem.value = told(error);
    }
  };
  useEffect(() => {
    const known = sets.peek().some((each) => each.id === chosenSet.peek());
    void tried(() => show(known ? chosenSet.peek() : (sets.peek()[0]?.id ?? null)));
  }, []);

  const take = async (found: Found[]) => {
    problems.value = [];
    await tried(async () => {
      if (!found.length) throw new Error("There is no file in what was brought.");
      const folder = found[0]!.path.includes("/") ? found[0]!.path.split("/")[0]! : "My music";
      const id = chosenSet.peek() ?? (await api.addSet(folder)).id;
      chosenSet.value = id;
      let done = 0;
      for (const portion of portions(found)) {
        progress.value = `Reading ${done} of ${found.length} files …`;
        const now = await api.addFiles(id, formOf(portion));
        loaded.value = now;
        problems.value = [...problems.peek(), ...(now.problems ?? [])];
        done += portion.length;
      }
      await refreshSets();
      const { totals } = loaded.peek()!;
      say(`${done} files were read; the set has ${totals.pieces} pieces to learn from.`);
    });
    progress.value = "";
  };
  const now = loaded.value;
  return (
    <div class="music">
      <section class="panel sets" aria-label="Sets">
        {sets.value.length > 0 && (
          <Choice
            label="Set"
            value={chosenSet.value ?? ""}
            options={[...sets.value.map((each) => [each.id, each.name] as const), ["", "A new set …"]]}
            onChange={(id) => void tried(() => show(id || null))}
          />
        )}
        <DropZone onFound={(found) => void take(found)} busy={progress.value} />
        <Problem text={problem.value} />
        {problems.value.map((text) => (
          <Problem key={text} text={text} />
        ))}
      </section>
      {now && (
        <>
          <section class="panel set" aria-label={now.name}>
            <div class="set-top">
              <Name
                value={now.name}
                what="set"
                level="h2"
                onChange={async (name) => {
                  await api.renameSet(now.id, name);
                  await refreshSets();
                  await show(now.id);
                }}
              />
              <span class="row">
                <button
                  type="button"
                  class="primary"
                  disabled={!now.totals.pieces}
                  onClick={() => ((learnFrom.value = now.id), open("learn"))}
                >
                  Learn from this
                </button>
                <Sure
                  label="Delete set"
                  sure="Delete for good"
                  icon="trash"
                  onSure={() =>
                    tried(async () => {
                      await api.deleteSet(now.id);
                      await refreshSets();
                      await show(sets.peek()[0]?.id ?? null);
                    })
                  }
                />
              </span>
            </div>
            <Preview totals={now.totals} files={now.files.length} />
          </section>
          <section class="panel" aria-label="Files">
            <h2>Files</h2>
            <FileList
              files={now.files}
              onRemove={(id) =>
                tried(async () => {
                  await api.deleteFile(id);
                  await show(now.id);
                })
              }
            />
          </section>
        </>
      )}
      {!now && chosenSet.value && !progress.value && !problem.value && (
        <p class="hint" role="status">
          Reading the set …
        </p>
      )}
      {!now && !chosenSet.value && !progress.value && (
        <Empty title="Bring the music that you like">
          <p>
            Drop MIDI files, a folder or a zip above. Folders become styles. Every file is read and judged,
            and stays on this machine.
          </p>
        </Empty>
      )}
    </div>
  );
}
