import { open, rm, type FileHandle } from 'node:fs/promises';
import { authorize, type Caller } from '../access/caller.js';
import { EunomiaError } from '../base/errors.js';
import type { Download } from './encoded.js';
import { storeOf } from './history.js';
import { Pace, type PaceLimits } from './pace.js';
import type { StoreKind } from '../session/spec.js';
import type { Store } from '../storage/store.js';

const CHUNK_BYTES = 256 << 10;
/** Of a reader: until it has all, nobody else gets a backup, and the copy takes room on the history's file system. */
const PACE: PaceLimits = { stallMs: 60_000, spanMs: 300_000, spanBytes: 300 * (64 << 10) };

/** What is copied. */
interface Copied {
  readonly stores: ReadonlyMap<StoreKind, Pick<Store, 'copy'>>;
}

/** Copies of the embedded history, for other tools and for a day when the disk is gone. */
export class Backups {
  readonly #parts: Copied;
  readonly #pace: PaceLimits;
  #busy = false;

  constructor(parts: Copied, pace = PACE) {
    this.#parts = parts;
    this.#pace = pace;
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
    const free = (): void => void (this.#busy = false);
    try {
      const path = await store.copy(caller.signal);
      const file = await open(path, 'r').finally(() => rm(path, { force: true }));
      return await this.#send(file, caller.signal, free);
    } catch (error) {
      free();
      throw error;
    }
  }

  /** `free` is called when the file is closed: at its end, when the client goes away, or when it is too slow. */
  async #send(file: FileHandle, signal: AbortSignal, free: () => void): Promise<Download> {
    const giveUp = new AbortController();
    const pace = new Pace(this.#pace, (why) => {
      close();
      giveUp.abort(
        new EunomiaError('CANCELLED', `a backup was given up, so that another can be made: its reader ${why}`),
      );
    });
    let isClosed = false;
    const close = (): void => {
      if (isClosed) return;
      isClosed = true;
      pace.done();
      signal.removeEventListener('abort', close);
      free();
      file.close().catch(() => undefined);
    };
    signal.addEventListener('abort', close, { once: true });
    try {
      signal.throwIfAborted();
      const { size } = await file.stat();
      return {
        contentType: 'application/vnd.duckdb',
        filename: 'eunomia.duckdb',
        compressible: false,
        live: false,
        length: size,
        tooSlow: giveUp.signal,
        body: pieces(file, pace, close),
      };
    } catch (error) {
      close();
      throw error;
    }
  }
}

/** Each piece is asked for when those before it were taken. */
async function* pieces(file: FileHandle, pace: Pace, close: () => void): AsyncGenerator<Uint8Array, void> {
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      pace.took(bytesRead);
    }
  } finally {
    close();
  }
}
