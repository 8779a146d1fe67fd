import type { IncomingMessage } from 'node:http';
import type { Identity } from '../../access/caller.js';
import type { EunomiaError } from '../../base/errors.js';
import { limitExceeded } from '../graphql/limits.js';
import { Shares } from './shares.js';

/** Bytes of all bodies that arrive at once, at least; four of the largest body where that is more. */
const LEAST_BYTES = 64 << 20;

/**
 * Counts the bodies of requests that are arriving. A client may take as long for one as a request may take, and what
 * has arrived is held until then: without a bound, some thousands of slow requests of one identity would take the
 * server's memory.
 */
export class Bodies {
  readonly #largest: number;
  readonly #shares: Shares;

  /** `largest`: the limit of one body, which bounds a body of unknown length too. */
  constructor(largest: number) {
    this.#largest = largest;
    this.#shares = new Shares(Math.max(LEAST_BYTES, 4 * largest));
  }

  /**
   * Counts the request's body for `identity` (the very object that `Access` returned) until it has arrived or the
   * client is gone. Returns why it cannot.
   */
  take(request: IncomingMessage, identity: Identity): EunomiaError | null {
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
    const bytes = encoding === undefined ? Number(length ?? 0) : this.#largest;
    if (bytes === 0 || request.complete || request.destroyed) return null;
    const { most, bytes: taken } = this.#shares;
    if (!this.#shares.hasRoom(identity, bytes))
      return limitExceeded(
        'bodies',
        most,
        taken + bytes,
        `the bodies of requests that arrive at the moment have ${taken} bytes, ${this.#shares.of(identity)} of ` +
          `them of this identity (${identity.who}); at most ${most} are allowed, three quarters of them of one ` +
          'identity: send the request again later',
      );
    const { free } = this.#shares.take(identity, bytes);
    request.once('end', free);
    request.once('close', free);
    return null;
  }
}
