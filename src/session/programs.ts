import { setTimeout as sleep } from 'node:timers/promises';
import { invalid } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { nowText, textOfMs } from '../event/clock.js';
import type { Container } from '../inventory/container.js';
import type { CgroupVerdict } from '../kernel/protocol.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { AskedBefore } from './asked.js';
import type { Ingest, LeftFilter } from './ingest.js';
import { Inlet, pauseBetween, WRITTEN_NS } from './inlet.js';
import { configure, type KernelConfiguration } from './source/configuration.js';
import type { ChunkTaker, SessionCounters, SharedSource, SourceFacts, SourcePool } from './source/pool.js';
import { warnOfRefused } from './source/refused.js';
import type { Sharing } from './source/sharing.js';
import type { SessionSpec } from './spec.js';
import type { CgroupMatcher } from './target.js';

/** How long two sources tell of the same, where one takes over from the other: a pause between two events is looked for in it. */
const OVERLAP_MS = 40;

/** When a session was changed, and the place of the first event behind that. */
export type Change = Pick<AskedBefore, 'at' | 'seq'>;

/** By what a session decides which events are its own, and what of them is captured. */
export interface Criteria {
  readonly spec: SessionSpec;
  readonly matcher: CgroupMatcher;
  readonly masks: readonly bigint[];
  readonly delayMs: number;
}

export interface ProgramsOptions {
  /** The session's id. */
  readonly session: string;
  readonly trackers: readonly TrackerRuntime[];
  readonly pool: SourcePool;
  readonly ingest: Ingest;
  readonly log: Log;
  /** Of what happened up to now, all is delivered: returns the place of the next event. */
  readonly nextSeq: () => number;
}

interface Attached {
  readonly key: string;
  readonly source: SharedSource;
  readonly inlet: Inlet;
  readonly matcher: CgroupMatcher;
  readonly sharing: Sharing | null;
}

/**
 * A session's programs in the kernel, by its filter and target, and their way into the session. Where these change and other programs have
 * to tell of it, those take over without an event that is lost or there twice. What is counted is counted over all of them.
 */
export class Programs implements SharedSource {
  readonly #options: ProgramsOptions;
  #attached: Attached;
  /** What takes over, while both tell of what happens. */
  #next: Pick<Attached, 'source' | 'matcher'> | null = null;
  /** By those that were attached before. */
  #before: Pick<SessionCounters, 'produced' | 'lost' | 'skippedRuns'> = { produced: 0, lost: 0, skippedRuns: 0 };

  private constructor(options: ProgramsOptions, attached: Attached) {
    this.#options = options;
    this.#attached = attached;
    this.#tellRefused(attached.source);
  }

  /** Loads and attaches. Rejects with a KernelError; nothing stays attached then. */
  static async join({ spec, matcher, masks, delayMs }: Criteria, options: ProgramsOptions): Promise<Programs> {
    const { trackers, pool, ingest } = options;
    const { key, source: wanted, sharing } = configure(spec, trackers, masks, matcher, pool, delayMs);
    const inlet = new Inlet(ingest.taker(leftOf(spec, sharing)));
    const source = await pool.join(key, wanted, masks, inlet.take);
    return new Programs(options, { key, source, inlet, matcher, sharing });
  }

  get sharing(): Sharing | null {
    return this.#attached.sharing;
  }

  get unloaded(): SharedSource['unloaded'] {
    return this.#attached.source.unloaded;
  }

  /**
   * Changes to another filter or target. `takeOver` is called when all that happened before is delivered, and nothing of what
   * happened after it. Rejects with a KernelError, or BAD_USER_INPUT where kernel maps would have to be divided; nothing has changed then.
   */
  async changeTo(criteria: Criteria, takeOver: (change: Change) => void): Promise<Change> {
    const { trackers, pool, ingest, nextSeq } = this.#options;
    const { spec, matcher, masks, delayMs } = criteria;
    const { key, source, inlet } = this.#attached;
    const aggregates = trackers.some(({ definition }) => definition.kernelAggregate !== undefined);
    const next = configure(spec, trackers, masks, matcher, pool, delayMs, aggregates ? key : null);
    const taker = ingest.taker(leftOf(spec, next.sharing), matcher);
    if (next.key !== key) {
      if (!aggregates) return this.#replace(criteria, next, taker, takeOver);
      throw invalid(
        'input',
        'the trackers of this session aggregate in the kernel, where what they have counted cannot be divided at a moment: ' +
          'start another session with this filter or target',
      );
    }
    await source.read();
    await inlet.hold();
    await ingest.settled;
    this.#attached = { key, source, inlet, matcher, sharing: next.sharing };
    const change = { at: nowText(), seq: nextSeq() };
    takeOver(change);
    await inlet.release({}, taker);
    return change;
  }

  /** Other programs take over, at a moment when both see what happens. */
  async #replace(
    { matcher, masks, delayMs }: Criteria,
    { key, source: wanted, sharing }: KernelConfiguration,
    taker: ChunkTaker,
    takeOver: (change: Change) => void,
  ): Promise<Change> {
    const { pool, ingest, nextSeq } = this.#options;
    const old = this.#attached;
    const inlet = new Inlet(taker);
    void inlet.hold();
    const source = await pool.join(key, wanted, masks, inlet.take);
    let end: number;
    try {
      this.#tellRefused(source);
      this.#next = { source, matcher };
      // Containers may have come while it was loaded.
      if (matcher.inKernel) await source.setVerdicts(matcher.known());
      await old.inlet.hold();
      const from = pool.now;
      await sleep(OVERLAP_MS);
      const until = pool.now;
      await sleep(WRITTEN_NS / 1e6);
      // What happened up to then is here.
      await Promise.all([old.source.counters(), source.counters()]);
      end = pauseBetween(old.inlet, inlet, from, until);
    } catch (error) {
      this.#next = null;
      inlet.close();
      await source.close().catch(() => undefined);
      await old.inlet.release({});
      throw error;
    }
    await old.inlet.release({ until: end });
    await ingest.settled;
    this.#attached = { key, source, inlet, matcher, sharing };
    this.#next = null;
    source.setDelay(delayMs);
    const change = { at: textOfMs(Date.now() - (pool.now - end) / 1e6), seq: nextSeq() };
    takeOver(change);
    await inlet.release({ from: end });
    this.#before = this.#with(await old.source.close(), old.inlet);
    return change;
  }

  /** A container has changed. */
  reevaluate(container: Container): void {
    const { session, log } = this.#options;
    for (const { source, matcher } of [this.#attached, this.#next ?? []].flat()) {
      const changed = matcher.reevaluate(container);
      if (changed.length)
        source
          .setVerdicts(changed)
          .catch((error: unknown) => log.error({ session, err: error }, 'telling the kernel of a container'));
    }
  }

  setCapture(object: number, mask: bigint): Promise<void> {
    return this.#attached.source.setCapture(object, mask);
  }

  setVerdicts(cgroups: readonly (readonly [id: number, verdict: CgroupVerdict | null])[]): Promise<void> {
    return this.#attached.source.setVerdicts(cgroups);
  }

  setDelay(ms: number): void {
    this.#attached.source.setDelay(ms);
  }

  hurry(): void {
    this.#attached.source.hurry();
  }

  async counters(): Promise<SessionCounters> {
    const { source, inlet } = this.#attached;
    const counted = await source.counters();
    return { ...counted, ...this.#with(counted, inlet) };
  }

  read(): Promise<void> {
    return this.#attached.source.read();
  }

  facts(): SourceFacts {
    return this.#attached.source.facts();
  }

  async close(): Promise<SessionCounters> {
    const { source, inlet } = this.#attached;
    const counted = await source.close();
    return { ...counted, ...this.#with(counted, inlet) };
  }

  /** What those before have counted, and this one, without what another source has told of. */
  #with(
    { produced, lost, skippedRuns }: SessionCounters,
    { excluded }: Inlet,
  ): Pick<SessionCounters, 'produced' | 'lost' | 'skippedRuns'> {
    const before = this.#before;
    return {
      produced: before.produced + produced - excluded.events - excluded.lost,
      lost: before.lost + lost - excluded.lost,
      skippedRuns: before.skippedRuns === null || skippedRuns === null ? null : before.skippedRuns + skippedRuns,
    };
  }

  #tellRefused({ unloaded }: SharedSource): void {
    const { session, trackers, log } = this.#options;
    for (const [i, { refused }] of unloaded.entries())
      for (const one of refused) warnOfRefused(log, { session, tracker: trackers[i]?.definition.name ?? '', ...one });
  }
}

/** What of a session's filter its source leaves. */
function leftOf({ where }: SessionSpec, sharing: Sharing | null): LeftFilter {
  return (sharing?.pushed ? where?.rest : where?.whole) ?? { matches: null, ready: null };
}
