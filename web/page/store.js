// Files in the origin's private file system: the run that a reload goes on with, and a ledger for each data set.

const ROOT = "dpc";
const RUN = "run";
const LEDGERS = "ledgers";
const SLOTS = ["checkpoint-0", "checkpoint-1"];

async function folder(name) {
  const root = await navigator.storage.getDirectory();
  const ours = await root.getDirectoryHandle(ROOT, { create: true });
  return ours.getDirectoryHandle(name, { create: true });
}

/** Writes a file, which is on the disk on return. */
export async function write(name, bytes) {
  const file = await (await folder(RUN)).getFileHandle(name, { create: true });
  const open = await file.createSyncAccessHandle();
  try {
    open.truncate(0);
    if (open.write(bytes, { at: 0 }) !== bytes.byteLength) throw new Error("the browser has no room for more");
    open.flush();
  } finally {
    open.close();
  }
}

/** The bytes of a file; nothing where there is none. */
export async function read(name) {
  try {
    const file = await (await folder(RUN)).getFileHandle(name);
    return new Uint8Array(await (await file.getFile()).arrayBuffer());
  } catch (error) {
    if (error.name === "NotFoundError") return null;
    throw error;
  }
}

/** Writes a checkpoint in the place of the one before the last, so that a whole one stays whatever happens. */
export async function saveCheckpoint(count, bytes) {
  await write(SLOTS[count % SLOTS.length], bytes);
}

/** The checkpoints that there are. */
export async function checkpoints() {
  const found = await Promise.all(SLOTS.map(read));
  return found.filter((bytes) => bytes?.length);
}

/** Opens the ledger of the data with this digest. Nobody else can until it is closed; a page that was reloaded may take a moment to
 * let go of it. */
export async function ledger(digest) {
  const file = await (await folder(LEDGERS)).getFileHandle(`${digest}.jsonl`, { create: true });
  for (let tries = 20; ; tries--) {
    try {
      return await file.createSyncAccessHandle();
    } catch (error) {
      if (error.name !== "NoModificationAllowedError" || !tries) throw error;
      await new Promise((go) => setTimeout(go, 100));
    }
  }
}

async function remove(name) {
  const root = await navigator.storage.getDirectory();
  try {
    const place = name === ROOT ? root : await root.getDirectoryHandle(ROOT);
    await place.removeEntry(name, { recursive: true });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
  }
}

/** Deletes the run; ledgers stay. */
export const removeRun = () => remove(RUN);

/** Deletes all of it. */
export const removeAll = () => remove(ROOT);
