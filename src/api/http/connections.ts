import type { EventEmitter } from 'node:events';
import type { Identity } from '../../access/caller.js';
import type { Limits } from '../../base/config.js';
import { EunomiaError } from '../../base/errors.js';
import { limitExceeded } from '../graphql/limits.js';

/** What can close: a socket, a response. */
export interface Closable extends Pick<EventEmitter, 'once'> {
  readonly destroyed: boolean;
}

/** One counted connection. It is freed once, whichever of its owners says so first. */
export interface ConnectionPlace extends Disposable {
  free(): void;
}

/**
 * Counts WebSocket connections, SSE streams and downloads: each holds memory for as long as it is open. A place belongs to what it
 * was reserved for, and is freed when that closes, so that no path of a handler can keep it.
 */
export class Connections {
  readonly #limits: Pick<Limits, 'connections' | 'identityConnections'>;
  readonly #places = new Set<ConnectionPlace>();
  readonly #byIdentity = new Map<Identity, number>();

  constructor(limits: Pick<Limits, 'connections' | 'identityConnections'>) {
    this.#limits = limits;
  }

  /** Places in use. */
  get open(): number {
    return this.#places.size;
  }

  /**
   * Reserves a place for `identity` (the very object that `Access` returned) until `owner` closes or the place is
   * freed. Returns LIMIT_EXCEEDED when none is left, or none for this identity.
   */
  take(owner: Closable, identity: Identity): ConnectionPlace | EunomiaError {
    const { connections, identityConnections } = this.#limits;
    const open = this.#places.size;
    const own = this.#byIdentity.get(identity) ?? 0;
    if (open >= connections) {
      return limitExceeded(
        'connections',
        connections,
        open + 1,
        `${open} WebSocket connections, SSE streams and downloads are open, and at most ${connections} are ` +
          'allowed; close one, or start the server with a larger --max-connections',
      );
    }
    if (own >= identityConnections) {
      return limitExceeded(
        'identityConnections',
        identityConnections,
        own + 1,
        `${own} WebSocket connections, SSE streams and downloads of this identity (${identity.who}) are open, ` +
          `and at most ${identityConnections} are allowed; close one, or start the server with a larger ` +
          '--max-connections-per-identity',
      );
    }
    const free = (): void => {
      if (this.#places.delete(place)) this.#count(identity, -1);
    };
    const place: ConnectionPlace = { free, [Symbol.dispose]: free };
    if (owner.destroyed) return place; // its `close` may have been already
    this.#places.add(place);
    this.#count(identity, 1);
    owner.once('close', free);
    return place;
  }

  #count(identity: Identity, change: 1 | -1): void {
    const own = (this.#byIdentity.get(identity) ?? 0) + change;
    if (own === 0) this.#byIdentity.delete(identity);
    else this.#byIdentity.set(identity, own);
  }
}

export function isRefused(taken: ConnectionPlace | EunomiaError): taken is EunomiaError {
  return taken instanceof EunomiaError;
}
