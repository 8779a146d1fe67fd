import type { Identity } from '../../access/caller.js';

/** Bytes that are held for clients. No identity takes all of them. */
export class Shares {
  readonly most: number;
  #bytes = 0;
  readonly #byIdentity = new Map<Identity, number>();

  constructor(most: number) {
    this.most = most;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Of the very object that `Access` returned. */
  of(identity: Identity): number {
    return this.#byIdentity.get(identity) ?? 0;
  }

  /** Whether so many bytes more have room. */
  hasRoom(identity: Identity, bytes: number): boolean {
    return this.#bytes + bytes <= this.most && this.of(identity) + bytes <= (this.most * 3) / 4;
  }

  /** Counts them, room or not. */
  take(identity: Identity, bytes: number): Share {
    let counted = 0;
    let freed = false;
    const count = (to: number): void => {
      this.#count(identity, to - counted);
      counted = to;
    };
    count(bytes);
    return {
      resize: (to) => {
        if (!freed) count(to);
      },
      free: () => {
        freed = true;
        count(0);
      },
    };
  }

  #count(identity: Identity, change: number): void {
    this.#bytes += change;
    const own = this.of(identity) + change;
    if (own === 0) this.#byIdentity.delete(identity);
    else this.#byIdentity.set(identity, own);
  }
}

export interface Share {
  /** Counts so many bytes from now on; nothing where it is free. */
  readonly resize: (bytes: number) => void;
  readonly free: () => void;
}
