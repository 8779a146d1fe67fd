import type { ServerResponse } from 'node:http';
import type { Identity } from '../../access/caller.js';
import { EunomiaError } from '../../base/errors.js';
import { limitExceeded, type Measured } from '../graphql/limits.js';
import { Shares, type Share } from './shares.js';

/** Bytes of all results that are being made or sent. */
const MOST_BYTES = 256 << 20;
/** What a value takes as text with its name, about. */
export const BYTES_PER_VALUE = 30;
/** Reserved for one result at most, where the limit of cost was raised. */
const RESERVED_BYTES = MOST_BYTES / 8;

/**
 * Counts the results of operations over HTTP and WebSocket until they have been sent: by the number of their values
 * before they are made, then over HTTP by the length of their text. A client may leave a response unread for as long
 * as a stalled client is left alone, and without a bound a few hundred of them would take the server's memory.
 */
export class Responses {
  readonly #shares = new Shares(MOST_BYTES);

  /**
   * Reserves room for a result until the response is closed. Returns the function that says how long its text is, or
   * why there is no room.
   */
  take(response: ServerResponse, identity: Identity, { values }: Measured): ((length: number) => void) | EunomiaError {
    const share = this.reserve(identity, values);
    if (share instanceof EunomiaError) return share;
    if (response.destroyed) share.free();
    else response.once('close', share.free);
    return share.resize;
  }

  /** Reserves room for a result of so many values until the share is freed. Returns why there is none. */
  reserve(identity: Identity, values: number): Share | EunomiaError {
    const bytes = Math.min(values * BYTES_PER_VALUE, RESERVED_BYTES);
    if (!this.#shares.hasRoom(identity, bytes))
      return limitExceeded(
        'responses',
        MOST_BYTES,
        this.#shares.bytes + bytes,
        `results that are being made or sent have ${this.#shares.bytes} bytes, ${this.#shares.of(identity)} of ` +
          `them of this identity (${identity.who}); at most ${MOST_BYTES} are allowed, three quarters of them of ` +
          'one identity: read the responses, and send the request again',
      );
    return this.#shares.take(identity, bytes);
  }
}
