import { readFile } from 'node:fs/promises';

const FILE = '/etc/passwd';
/** How long what was read is taken for true. */
const FRESH_MS = 10_000;
/** A larger file is not read: what has a million users asks a directory. */
const MOST_USERS = 100_000;

/** The names of this machine's users. */
export class Users {
  readonly #file: string;
  #names: ReadonlyMap<number, string> = new Map();
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | null = null;

  constructor(file = FILE) {
    this.#file = file;
  }

  /** Null for a user without a name. A promise while the file is read: at first, and every 10 seconds while somebody asks. */
  nameOf(uid: number): string | null | Promise<string | null> {
    if (performance.now() - this.#readAt < FRESH_MS) return this.#names.get(uid) ?? null;
    this.#reading ??= this.#read().finally(() => (this.#reading = null));
    return this.#reading.then(() => this.#names.get(uid) ?? null);
  }

  async #read(): Promise<void> {
    this.#names = parsePasswd(await readFile(this.#file, 'utf8').catch(() => ''));
    this.#readAt = performance.now();
  }
}

/** passwd(5): `name:password:uid:…`. Of several users with one uid the first counts, as getpwuid(3) has it. Pure. */
export function parsePasswd(text: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const line of text.split('\n')) {
    const [name, , uid] = line.split(':');
    if (name && uid && /^\d+$/.test(uid) && !names.has(Number(uid)) && names.size < MOST_USERS)
      names.set(Number(uid), name);
  }
  return names;
}
