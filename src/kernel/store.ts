import { createHash } from 'node:crypto';
import { constants, readFileSync } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { arch, machine, release, version } from 'node:os';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { threadId } from 'node:worker_threads';
import { openPrivate, privateDirectory, readTrusted } from '../base/file.js';
import { runtimeFolder } from '../base/paths.js';
import { loadLibbpf } from './libbpf.js';

/** What is in a file's first bytes: the hash of the rest, and of what it was made for. */
const HASH_BYTES = 32;
/** Another form of what is kept gets another number. */
const FORM = 3;
/** What is being written has a name with a dot before it; after this time its process has been killed meanwhile. */
const ABANDONED_MS = 60_000;

/**
 * What has been worked out of the running kernel with some effort, kept for later processes: in /run, which a boot empties. It is for this
 * very kernel, by its build ID, and this libbpf; what does not fit, or is damaged, is not there. Instructions for the kernel are among it,
 * so that only files that root or this process's user alone can write are read.
 */
export class KernelStore {
  readonly #folder: string;
  readonly #kernel: string;
  #swept = false;
  #writing: Promise<void> = Promise.resolve();

  /** `kernel` tells it apart from all others. */
  constructor(folder: string, kernel: string) {
    this.#folder = folder;
    this.#kernel = kernel;
  }

  /** What was kept under the name, of the same source; null for none. */
  read(name: string, source: Uint8Array | string): unknown {
    try {
      const bytes = readTrusted(join(this.#folder, name), 'CODE');
      const rest = bytes.subarray(HASH_BYTES);
      if (!bytes.subarray(0, HASH_BYTES).equals(hash(rest))) return null;
      if (!rest.subarray(0, HASH_BYTES).equals(this.#key(source))) return null;
      return deserialize(rest.subarray(HASH_BYTES)) as unknown;
    } catch {
      return null; // not there, not to be trusted, or of another Node
    }
  }

  /** In place of what was there, soon. What cannot be kept is worked out anew by the next process. */
  write(name: string, source: Uint8Array | string, value: unknown): void {
    this.#writing = this.#writing.then(() => this.#write(name, source, value));
  }

  /** Resolves when all is written, or cannot be. */
  get written(): Promise<void> {
    return this.#writing;
  }

  async #write(name: string, source: Uint8Array | string, value: unknown): Promise<void> {
    const rest = Buffer.concat([this.#key(source), serialize(value)]);
    const made = join(this.#folder, `.${name}.${process.pid}.${threadId}`);
    try {
      privateDirectory(this.#folder);
      if (!this.#swept) await this.#sweep();
      this.#swept = true;
      const file = await openPrivate(made, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC);
      try {
        await file.writeFile(Buffer.concat([hash(rest), rest]));
      } finally {
        await file.close();
      }
      await rename(made, join(this.#folder, name));
    } catch {
      await rm(made, { force: true }).catch(() => undefined);
    }
  }

  /** Removes what processes that were killed have left. */
  async #sweep(): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (!name.startsWith('.')) continue;
      const path = join(this.#folder, name);
      const written = await stat(path).catch(() => null);
      if (written && Date.now() - written.mtimeMs > ABANDONED_MS)
        await rm(path, { force: true }).catch(() => undefined);
    }
  }

  #key(source: Uint8Array | string): Buffer {
    const of = createHash('sha256').update(source).digest('hex');
    return hash(JSON.stringify([FORM, this.#kernel, loadLibbpf().version, arch(), process.versions.v8, of]));
  }
}

function hash(bytes: Uint8Array | string): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** Of this boot; null where there is no folder that a boot empties, or where the kernel does not tell its build ID. */
export function openKernelStore(): KernelStore | null {
  const folder = runtimeFolder();
  const kernel = kernelIdentity();
  return folder !== null && kernel !== null ? new KernelStore(join(folder, 'kernel'), kernel) : null;
}

/** Names the kernel that runs, and no other one: its build ID is in its notes. */
function kernelIdentity(): string | null {
  try {
    const notes = readFileSync('/sys/kernel/notes');
    if (!notes.includes('GNU\0')) return null;
    return JSON.stringify([release(), version(), machine(), notes.toString('base64')]);
  } catch {
    return null;
  }
}

let store: KernelStore | null = null;

/** What this thread keeps things in; null, as at first: nowhere. */
export function useKernelStore(used: KernelStore | null): void {
  store = used;
}

export function kernelStore(): KernelStore | null {
  return store;
}
