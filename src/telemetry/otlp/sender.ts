import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../../base/backoff.js';
import type { SignalCounts } from './protocol.js';
import type { Post } from './post.js';

/** A request's body, and how many records or points are in it. */
export interface Parcel {
  readonly body: Uint8Array;
  readonly count: number;
}

export interface OtlpSenderOptions {
  readonly post: Post;
  /** How many of a request the collector says, in its response, that it did not take, and why. */
  readonly rejected: (response: Uint8Array) => { readonly count: number; readonly problem: string };
  /** Bytes that may wait before `room` keeps its callers waiting. */
  readonly maxBytes: number;
  /** A newer parcel takes the place of the one that waits: it tells the same, later. */
  readonly newestOnly: boolean;
  readonly firstWaitMs?: number;
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
const LONGEST_ASKED_MS = 300_000;
/** Characters of a collector's own words that are kept. */
const MOST_SAID = 200;

/**
 * Sends parcels in their order, one at a time. While the collector is away they wait, and are tried again ever less
 * often. What it refuses is counted and let go, as OTLP says: it would refuse it again.
 */
export class OtlpSender {
  readonly #options: OtlpSenderOptions;
  readonly #parcels: Parcel[] = [];
  readonly #roomers: (() => void)[] = [];
  #counts = { sent: 0, refused: 0, failures: 0 };
  #queued = 0;
  #queuedBytes = 0;
  #problem: string | null = null;
  #sending: Promise<void> | null = null;

  constructor(options: OtlpSenderOptions) {
    this.#options = options;
  }

  get counts(): SignalCounts {
    return { ...this.#counts, queued: this.#queued, queuedBytes: this.#queuedBytes, problem: this.#problem };
  }

  push(parcel: Parcel): void {
    // The first one is on its way.
    if (this.#options.newestOnly && this.#parcels.length > 1) this.#weigh(this.#parcels.pop(), -1);
    this.#parcels.push(parcel);
    this.#weigh(parcel, 1);
    this.#sending ??= this.#send().finally(() => (this.#sending = null));
  }

  /** Resolves when less waits than may. */
  async room(): Promise<void> {
    while (this.#queuedBytes > this.#options.maxBytes)
      await new Promise<void>((resolve) => this.#roomers.push(resolve));
  }

  /** Resolves when nothing waits. Not while the collector is away. */
  async empty(): Promise<void> {
    await this.#sending;
  }

  async #send(): Promise<void> {
    const backoff = new Backoff(this.#options.firstWaitMs ?? FIRST_WAIT_MS, LONGEST_WAIT_MS);
    for (let parcel = this.#parcels[0]; parcel; parcel = this.#parcels[0]) {
      const response = await this.#options.post(parcel.body);
      if (response.kind === 'AWAY') {
        this.#counts.failures++;
        this.#problem = response.problem;
        const waitMs = backoff.next();
        await sleep(Math.min(response.afterMs ?? waitMs, LONGEST_ASKED_MS), undefined, { ref: false });
        continue;
      }
      backoff.reset();
      const { count, problem } =
        response.kind === 'REFUSED'
          ? { count: parcel.count, problem: response.problem }
          : this.#rejected(parcel, response.body);
      this.#counts.refused += count;
      this.#counts.sent += parcel.count - count;
      this.#problem =
        count > 0 ? `${problem || 'the collector rejected them'} (${count} of ${parcel.count} in one request)` : null;
      this.#parcels.shift();
      this.#weigh(parcel, -1);
      for (const resolve of this.#roomers.splice(0)) resolve();
    }
  }

  /** What the collector says that it did not take: no more than there was, and nothing where its response cannot be read. */
  #rejected({ count: most }: Parcel, body: Uint8Array): { readonly count: number; readonly problem: string } {
    try {
      const { count, problem } = this.#options.rejected(body);
      return {
        count: Number.isSafeInteger(count) ? Math.min(Math.max(count, 0), most) : 0,
        problem: String(problem).slice(0, MOST_SAID),
      };
    } catch {
      return { count: 0, problem: '' };
    }
  }

  #weigh(parcel: Parcel | undefined, sign: 1 | -1): void {
    this.#queued += sign * (parcel?.count ?? 0);
    this.#queuedBytes += sign * (parcel?.body.byteLength ?? 0);
  }
}
