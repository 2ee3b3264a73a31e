// Take a piece home: files, a zip of all of them, or drag it into a music program.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, told } from "../api";
import { say } from "../say";
import { info } from "../state";
import { Icon } from "../ui/icons";
import { Problem } from "../ui/parts";

const WORDS: Record<string, string> = {
  ".mid": "MIDI",
  ".wav": "Sound",
  ".musicxml": "Notes for notation programs",
  ".svg": "Picture of the roll",
  ".json": "Settings and figures",
};
const ORDER = [".mid", ".wav", ".musicxml", ".svg", ".json"];

/** Downloads go through fetch, since a bare link carries no token. */
export async function download(path: string, name: string): Promise<void> {
  const address = URL.createObjectURL(await api.file(path));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function fileName(title: string): string {
  return title.replace(/[^\p{L}\p{N} ,_-]+/gu, "_").trim() || "piece";
}

export function TakeHome({ id, title }: { id: string; title: string }) {
  const problem = useSignal("");
  const busy = useSignal("");
  const midi = useSignal("");

  useEffect(() => {
    let gone = false;
    let address = "";
    api.file(`/api/pieces/${id}.mid`).then(
      (blob) => {
        if (gone) return;
        midi.value = address = URL.createObjectURL(new Blob([blob], { type: "audio/midi" }));
      },
      () => undefined,
    );
    return () => {
      gone = true;
      if (address) URL.revokeObjectURL(address);
      midi.value = "";
    };
  }, [id]);

  const take = async (path: string, name: string) => {
    problem.value = "";
    busy.value = name;
    try {
      await download(path, name);
      say(`${name} was saved.`);
    } catch (error) {
      problem.value = told(error);
    }
    busy.value = "";
  };
  const formats = ORDER.filter((each) => info.value?.formats.includes(each));
  const name = fileName(title);
  return (
    <div class="take-home">
      <span
        class="drag"
        draggable={Boolean(midi.value)}
        title="Drag this into a music program"
        onDragStart={(event) =>
          event.dataTransfer?.setData("DownloadURL", `audio/midi:${name}.mid:${midi.value}`)
        }
      >
        <Icon name="more" />
        Drag to your DAW
      </span>
      {formats.map((each) => (
        <button
          type="button"
          key={each}
          class="quiet"
          title={WORDS[each]}
          aria-label={`Save ${each} (${WORDS[each]})`}
          disabled={busy.value === `${name}${each}`}
          onClick={() => void take(`/api/pieces/${id}${each}`, `${name}${each}`)}
        >
          {each}
        </button>
      ))}
      <button
        type="button"
        class="quiet"
        disabled={busy.value === `${name}.zip`}
        onClick={() => void take(`/api/pieces.zip?id=${id}`, `${name}.zip`)}
      >
        <Icon name="download" />
        All as zip
      </button>
      <Problem text={problem.value} />
    </div>
  );
}
