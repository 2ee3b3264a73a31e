// From what was dropped or chosen to requests: files with their paths, in portions that a server can take.

export interface Found {
  path: string;
  file: File;
}

const PORTION_BYTES = 24 * 2 ** 20;
const PORTION_FILES = 100;

/** All files of a drop, folders included, with their paths in it. */
export async function dropped(items: DataTransferItemList): Promise<Found[]> {
  // Entries have to be asked for before the first wait: afterwards the drop is over.
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return (await Promise.all(entries.map((entry) => walked(entry, "")))).flat();
}

async function walked(entry: FileSystemEntry, folder: string): Promise<Found[]> {
  const path = folder ? `${folder}/${entry.name}` : entry.name;
  if (entry.isFile) {
    const file = await new Promise<File>((found, failed) =>
      (entry as FileSystemFileEntry).file(found, failed),
    );
    return [{ path, file }];
  }
  const found: Found[] = [];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  // A reader gives a hundred entries at a time, until it gives none.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((read, failed) => reader.readEntries(read, failed));
    if (!some.length) return found;
    for (const each of some) found.push(...(await walked(each, path)));
  }
}

/** What was chosen with a file dialog; a folder's files know their paths. */
export function chosen(files: FileList): Found[] {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Hidden files, as systems leave them in folders, are nobody's music. */
export function wanted(found: Found[]): Found[] {
  return found.filter(
    ({ path }) => !path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX"),
  );
}

/** In portions of bounded size and number. */
export function portions<T extends { file: { size: number } }>(
  found: T[],
  bytes = PORTION_BYTES,
  files = PORTION_FILES,
): T[][] {
  const all: T[][] = [];
  let size = Infinity;
  for (const each of found) {
    if (size + each.file.size > bytes || all.at(-1)!.length >= files) {
      all.push([]);
      size = 0;
    }
    all.at(-1)!.push(each);
    size += each.file.size;
  }
  return all;
}

export function formOf(found: Found[]): FormData {
  const form = new FormData();
  for (const { path, file } of found) form.append("file", file, path);
  return form;
}
