import { OperationTypeNode } from 'graphql';
import type { Caller } from '../../access/caller.js';
import type { EunomiaError } from '../../base/errors.js';
import { Gate } from '../../base/gate.js';
import { cancelled } from './mask.js';

/** Fields of one client that are read at a time, of each kind. */
const READS = 2;
/** From so many entries on, a page takes long. */
export const FEW = 256;
/** From so many values on (`Measured`), a result is large: some megabytes of text, and as much again for the events that it is made of. */
const LARGE = 1 << 16;

/**
 * What one client may have under way at once. Each page, aggregate and report waits for its turns among those of all
 * clients, and its queries among those that a store has to run: a client that asks for a hundred at once would have a
 * hundred times the share of another. So they wait behind each other first. What takes long and what does not have
 * gates of their own, so that a client's own view of a few events does not wait for its report.
 */
export class ClientShare {
  readonly #short = new Gate(READS);
  readonly #long = new Gate(READS);
  /** Of large results one exists at a time, from the beginning of its operation until it has left. */
  readonly #large = new Gate(1);

  /** Reads next to nothing, once fewer do. Rejects with the signal's reason when the caller has gone before. */
  short<Result>(work: () => Result | Promise<Result>, { signal }: Caller): Promise<Result> {
    return behind(this.#short, work, signal);
  }

  /** The same for what may take long. */
  long<Result>(work: () => Result | Promise<Result>, { signal }: Caller): Promise<Result> {
    return behind(this.#long, work, signal);
  }

  /**
   * Resolves when an operation may begin whose result has so many values, with the function that says that it has left;
   * or with CANCELLED when the caller has gone before. A mutation waits for nothing: a trace takes as long as it is told to.
   */
  async begin(kind: OperationTypeNode, values: number, { signal }: Caller): Promise<(() => void) | EunomiaError> {
    if (kind !== OperationTypeNode.QUERY || values < LARGE) return () => undefined;
    return this.#large.enter(signal).catch(cancelled);
  }
}

async function behind<Result>(gate: Gate, work: () => Result | Promise<Result>, signal: AbortSignal): Promise<Result> {
  const leave = await gate.enter(signal);
  try {
    return await work();
  } finally {
    leave();
  }
}

const shares = new WeakMap<object, ClientShare>();

/** A client is a connection: what has none, in this process, is one by itself. */
export function shareOf({ connection }: Pick<Caller, 'connection'>): ClientShare {
  const share = (connection && shares.get(connection)) ?? new ClientShare();
  if (connection) shares.set(connection, share);
  return share;
}
