// The files of a set, each with its verdict: to hear, see, start from and remove.
import { useSignal } from "@preact/signals";
import { type MusicFile, api, told } from "../api";
import { startFrom } from "../compose/session";
import type { Task } from "../compose/wishes";
import { DOES } from "../compose/wishes";
import { player, playing } from "../stage/player";
import type { Song } from "../stage/player";
import { Stage, isLive } from "../stage/Stage";
import { Icon } from "../ui/icons";
import { IconButton, Problem, Sure } from "../ui/parts";
import { facts, verdict } from "./verdicts";

const OWNER = "music";
const SHOWN_AT_ONCE = 100;
const USES: Task[] = ["prompt", "infill", "vary", "humanise", "orchestrate"];

export function FileList({
  files,
  onRemove,
}: {
  files: MusicFile[];
  onRemove: (id: string) => Promise<void>;
}) {
  const most = useSignal(SHOWN_AT_ONCE);
  const only = useSignal(false);
  const left = files.filter((each) => each.verdict !== "ok");
  const shown = only.value ? left : files;
  return (
    <>
      {left.length > 0 && left.length < files.length && (
        <label class="check">
          <input
            type="checkbox"
            checked={only.value}
            onChange={(event) => (only.value = event.currentTarget.checked)}
          />
          <span>Only what is left out ({left.length})</span>
        </label>
      )}
      <ul class="files">
        {shown.slice(0, most.value).map((each) => (
          <FileRow key={each.id} file={each} onRemove={() => onRemove(each.id)} />
        ))}
      </ul>
      {shown.length > most.value && (
        <button type="button" class="quiet" onClick={() => (most.value += SHOWN_AT_ONCE)}>
          Show more of {shown.length}
        </button>
      )}
    </>
  );
}

function FileRow({ file, onRemove }: { file: MusicFile; onRemove: () => Promise<void> }) {
  const song = useSignal<Song | null>(null);
  const opened = useSignal(false);
  const problem = useSignal("");
  const words = verdict(file);
  const readableFile = Boolean(file.facts.notes);
  const get = async () => {
    problem.value = "";
    try {
      song.value ??= {
        id: `file ${file.id}`,
        title: file.name,
        kind: "file",
        source: file.id,
        score: await api.fileScore(file.id),
        complete: true,
      };
    } catch (error) {
      problem.value = told(error);
    }
    return song.value;
  };
  const live = song.value !== null && isLive(song.value, OWNER);
  const hear = async () => {
    const found = await get();
    if (!found) return;
    if (!live) player.load([found], 0, OWNER);
    player.toggle();
  };
  const see = async () => {
    if (!opened.value && !(await get())) return;
    opened.value = !opened.value;
    if (opened.value && !playing.peek() && song.value) player.load([song.value], 0, OWNER);
  };
  const start = async (use: Task) => {
    try {
      await startFrom(use, { kind: "file", id: file.id, name: file.name });
    } catch (error) {
      problem.value = told(error);
    }
  };
  return (
    <li class="file">
      <div class="file-line">
        <IconButton
          icon={live && playing.value ? "pause" : "play"}
          label={`${live && playing.value ? "Pause" : "Hear"} ${file.name}`}
          disabled={!readableFile}
          onClick={() => void hear()}
        />
        <div class="file-what">
          <span class="file-name">
            <b>{file.name}</b>
            {file.style && <span class="badge">{file.style}</span>}
          </span>
          <span class="hint">{facts(file)}</span>
        </div>
        <div class="file-verdict">
          <span class={`badge badge-${words.tone}`}>
            <Icon name={words.tone === "good" ? "check" : "warn"} />
            {words.short}
          </span>
          {words.long && <span class="hint">{words.long}</span>}
        </div>
        <div class="file-tools">
          {readableFile && (
            <button
              type="button"
              class="quiet"
              aria-expanded={opened.value}
              aria-label={`${opened.value ? "Close" : "See"} ${file.name}`}
              onClick={() => void see()}
            >
              {opened.value ? "Close" : "See"}
            </button>
          )}
          <Sure label={`Remove ${file.name}`} sure="Remove" icon="trash" small onSure={onRemove} />
        </div>
      </div>
      <Problem text={problem.value} />
      {opened.value && song.value && (
        <div class="file-more">
          <Stage song={song.value} by={OWNER} />
          <div class="row" role="group" aria-label="Make something of it">
            {USES.map((use) => (
              <button type="button" class="quiet" key={use} onClick={() => void start(use)}>
                {DOES[use]}
              </button>
            ))}
          </div>
        </div>
      )}
    </li>
  );
}
