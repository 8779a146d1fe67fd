import { open, rm } from 'node:fs/promises';
import { authorize, type Caller } from '../access/caller.js';
import { EunomiaError } from '../base/errors.js';
import type { Download } from './encoded.js';
import { storeOf } from './history.js';
import type { Parts } from './parts.js';

const CHUNK_BYTES = 256 << 10;

/** Copies of the embedded history, for other tools and for a day when the disk is gone. */
export class Backups {
  readonly #parts: Parts;
  #busy = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Copies the history as it is now, and begins to send the copy, which is on disk under no name until it was sent. Rejects with FORBIDDEN,
   * NO_STORE, LIMIT_EXCEEDED while another one is being made, STORE_UNAVAILABLE, and CANCELLED.
   */
  async open(caller: Caller): Promise<Download> {
    authorize(caller, 'backup');
    const store = storeOf('EMBEDDED', this.#parts);
    if (!store.copy) throw new EunomiaError('NO_STORE', 'the store has no file that could be copied');
    if (this.#busy)
      throw new EunomiaError('LIMIT_EXCEEDED', 'a backup is being made already; ask again when it is done', {
        details: { limit: 'backups', maximum: 1, actual: 2 },
      });
    this.#busy = true;
    const { signal } = caller;
    try {
      const path = await store.copy(signal);
      const file = await open(path, 'r').finally(() => rm(path, { force: true }));
      const close = (): void => {
        this.#busy = false;
        file.close().catch(() => undefined);
      };
      if (signal.aborted) close();
      else signal.addEventListener('abort', close, { once: true });
      signal.throwIfAborted();
      return {
        contentType: 'application/vnd.duckdb',
        filename: 'eunomia.duckdb',
        compressible: false,
        live: false,
        body: pieces(file),
      };
    } catch (error) {
      this.#busy = false;
      throw error;
    }
  }
}

async function* pieces(file: Awaited<ReturnType<typeof open>>): AsyncGenerator<Uint8Array, void> {
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}
