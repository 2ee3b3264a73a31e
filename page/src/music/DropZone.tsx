// Where files, folders and zips are dropped or chosen.
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { Icon } from "../ui/icons";
import { type Found, chosen, dropped, wanted } from "./upload";

export function DropZone({ onFound, busy }: { onFound: (found: Found[]) => void; busy: string }) {
  const over = useSignal(false);
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const take = (input: HTMLInputElement) => {
    if (input.files?.length) onFound(wanted(chosen(input.files)));
    input.value = "";
  };
  return (
    <div
      class={`drop ${over.value ? "drop-over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={() => (over.value = false)}
      onDrop={(event) => {
        event.preventDefault();
        over.value = false;
        if (event.dataTransfer)
          void dropped(event.dataTransfer.items).then((found) => onFound(wanted(found)));
      }}
    >
      <Icon name="folder" />
      <p>
        <b>Drop files, folders or a zip here</b>
      </p>
      <p class="row">
        <button type="button" class="quiet" disabled={Boolean(busy)} onClick={() => files.current?.click()}>
          Choose files …
        </button>
        <button type="button" class="quiet" disabled={Boolean(busy)} onClick={() => folder.current?.click()}>
          Choose a folder …
        </button>
      </p>
      <p class="hint" role="status">
        {busy || ".mid and .zip; folders become styles"}
      </p>
      <input
        ref={files}
        type="file"
        hidden
        multiple
        accept=".mid,.midi,.kar,.zip"
        aria-label="Files"
        onChange={(event) => take(event.currentTarget)}
      />
      <input
        ref={folder}
        type="file"
        hidden
        multiple
        aria-label="Folder"
        {...{ webkitdirectory: true }}
        onChange={(event) => take(event.currentTarget)}
      />
    </div>
  );
}
