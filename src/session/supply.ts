import { EunomiaError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { refusals } from '../catalog/unloaded.js';
import type { Gap } from '../event/event.js';
import type { Container } from '../inventory/container.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { Ingest } from './ingest.js';
import { Programs, type Criteria } from './programs.js';
import type { Player, RecordedSource } from './replay.js';
import type { SessionCounters, SharedSource, SourcePool } from './source/pool.js';

export interface SupplyOptions extends Pick<Player, 'change' | 'queued' | 'end'> {
  /** The session's id. */
  readonly session: string;
  readonly trackers: readonly TrackerRuntime[];
  /** Null where there is no kernel: there is a replay then. */
  readonly pool: SourcePool | null;
  readonly replay: RecordedSource | null;
  readonly ingest: Ingest;
  readonly log: Log;
  /** The place of the next event. */
  readonly nextSeq: () => number;
}

/** Where a session's events come from: its programs in the kernel, or a recording. Closed, it still tells what it was. */
export class Supply {
  /** Of a replay, where events are missing that nobody counted. */
  readonly uncounted: Gap[] = [];
  readonly #options: SupplyOptions;
  /** Settles when it is attached, or could not be. */
  #opening: Promise<void> | null = null;
  #source: SharedSource | null = null;
  #programs: Programs | null = null;
  #unloaded: () => SharedSource['unloaded'] = () => [];
  #counted: SessionCounters = { produced: 0, lost: 0, skippedRuns: null, ringPeakBytes: 0 };

  constructor(options: SupplyOptions) {
    this.#options = options;
  }

  /** Loads and attaches, or plays. Rejects with a KernelError, or NO_KERNEL; nothing stays attached then. */
  open(criteria: Criteria): Promise<void> {
    return (this.#opening = this.#open(criteria));
  }

  /** Whether there is something to close, once that is known: what is being attached is detached once it can be. */
  async canClose(): Promise<boolean> {
    const isOpened = await this.#opening?.then(
      () => true,
      () => false,
    );
    return isOpened !== false;
  }

  async #open(criteria: Criteria): Promise<void> {
    const { replay } = this.#options;
    const source = replay ? await this.#play(replay) : await this.#join(criteria);
    this.#unloaded = () => source.unloaded;
    this.#source = source;
  }

  #play(replay: RecordedSource): Promise<SharedSource> {
    const { ingest, change, queued, end } = this.#options;
    return replay.play({
      play: (events, gap) => ingest.play(events, gap),
      change,
      miss: (from, to) => void this.uncounted.push({ from, to, lost: 0, dropped: 0, where: 'STORE' }),
      queued,
      end,
    });
  }

  async #join(criteria: Criteria): Promise<Programs> {
    const { session, trackers, pool, ingest, log, nextSeq } = this.#options;
    if (!pool) throw new EunomiaError('NO_KERNEL', 'this server replays a recording, and starts no session of its own');
    return (this.#programs = await Programs.join(criteria, { session, trackers, pool, ingest, log, nextSeq }));
  }

  get isOpen(): boolean {
    return this.#source !== null;
  }

  /** Null of a replay, and before they are attached. */
  get programs(): Programs | null {
    return this.#programs;
  }

  /** Events that the kernel had lost when it was closed. */
  get lost(): number {
    return this.#counted.lost;
  }

  /** What is not seen without programs that are not loaded; for people. */
  notices(): string[] {
    const unloaded = this.#unloaded();
    return this.#options.trackers.flatMap(({ definition }, i) => {
      const ofTracker = unloaded[i];
      return ofTracker ? refusals(definition, ofTracker).map((text) => `${definition.name}: ${text}`) : [];
    });
  }

  setCapture(object: number, mask: bigint): void {
    const { session, log } = this.#options;
    this.#source
      ?.setCapture(object, mask)
      .catch((error: unknown) => log.error({ session, err: error }, 'setting the capture mask'));
  }

  setDelay(ms: number): void {
    this.#source?.setDelay(ms);
  }

  hurry(): void {
    this.#source?.hurry();
  }

  /** A container has changed. */
  reevaluate(container: Container): void {
    if (this.#source) this.#programs?.reevaluate(container);
  }

  async read(): Promise<void> {
    await this.#source?.read();
  }

  /** As they are, or were when it was closed. */
  async counters(): Promise<SessionCounters> {
    const counters = (await this.#source?.counters().catch(() => null)) ?? this.#counted;
    return { ...counters, ringPeakBytes: this.#source ? counters.ringPeakBytes : 0 };
  }

  /** It is gone, and there is nothing to close. */
  abandon(): void {
    this.#source = null;
  }

  async close(): Promise<void> {
    try {
      if (this.#source) this.#counted = await this.#source.close();
    } finally {
      this.#source = null;
    }
  }
}
