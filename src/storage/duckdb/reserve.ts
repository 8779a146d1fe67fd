import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openPrivate } from '../../base/file.js';
import { freeBytes } from './database.js';

const FILE = 'eunomia.reserve';
/** DuckDB needs some MiB to open a file and write a few rows into it. */
const RESERVE_BYTES = 8 << 20;

/** Room on the data directory's file system that is kept for the moment when the server ends and the disk is full. */
export class Reserve {
  readonly #directory: string;
  readonly #leastFree: number;
  #kept = false;

  /** `leastFree` bytes are left free beside it. */
  constructor(directory: string, leastFree: number) {
    this.#directory = directory;
    this.#leastFree = leastFree;
  }

  /** Takes the room, where there is enough. Never rejects: without a reserve, what is lost on a full disk may stay uncounted. */
  async keep(): Promise<void> {
    if (this.#kept || (await freeBytes(this.#directory)) < this.#leastFree + 2 * RESERVE_BYTES) return;
    try {
      const file = await openPrivate(
        join(this.#directory, FILE),
        constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
      );
      // No zeros: file systems that compress would take no room for them.
      await file.writeFile(randomBytes(RESERVE_BYTES)).finally(() => file.close());
      this.#kept = true;
    } catch {
      await this.free();
    }
  }

  /** Gives the room back. Never rejects. */
  async free(): Promise<void> {
    this.#kept = false;
    await rm(join(this.#directory, FILE), { force: true }).catch(() => undefined);
  }
}
