import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { timeoutSignal } from '../../base/timeout.js';
import { failureOf, type Failure } from './failure.js';
import { Lag } from '../lag.js';
import { refuse, type Lot, type LotShares } from './lot.js';
import type { Spool, SpoolRecord } from './spool.js';

/** CONNECTED: the last write was taken. AWAY: the database does not respond, or is busy. REFUSED: it refuses our requests. */
export type SenderState = 'IDLE' | 'CONNECTED' | 'AWAY' | 'REFUSED';

/** What became of each point; `accepted = written + rejected + dropped + queued` holds at any time. */
export interface SenderStats {
  readonly state: SenderState;
  /** Why it is AWAY or REFUSED, in the database's words; or the last thing that it rejected. Null when nothing is wrong. */
  readonly problem: string | null;
  readonly accepted: number;
  readonly written: number;
  /** The database said that it never will take these. */
  readonly rejected: number;
  /** The spool had no room for these, or could not be written. */
  readonly dropped: number;
  readonly queued: number;
  /** Of those queued, on disk. */
  readonly spooled: number;
  readonly spoolBytes: number;
}

export interface LineWriter {
  /** Makes what the points are written to, if it is not there. */
  ensure(signal: AbortSignal): Promise<void>;
  /** Lines, each with its end. */
  write(lines: Buffer, signal: AbortSignal): Promise<void>;
}

export interface SenderOptions {
  readonly writer: LineWriter;
  readonly spool: Spool;
  readonly log: Log;
  /** Of one write; a request that takes longer counts as failed. Default 10 s. */
  readonly timeoutMs?: number;
  /** How long points wait for others to go with them. Default 500 ms. */
  readonly lingerMs?: number;
  /** Before the second attempt; doubles up to `maxRetryMs`, less up to a half by chance. Default 250 ms. */
  readonly firstRetryMs?: number;
  /** Default 15 s. */
  readonly maxRetryMs?: number;
}

/** Of one request. */
const BATCH_POINTS = 5000;
const BATCH_BYTES = 1 << 20;
/** Of lines in memory while the database is slow but there; beyond it they go to disk. */
const MEMORY_BYTES = 16 << 20;
const REFUSED_MS = 5000;
const MAX_REFUSED_MS = 60_000;
/** What is left at the end of the server may still be sent for so long; then it goes to disk. */
const DRAIN_MS = 2000;
const REJECTED = 'rejected';

/** Of a record that the database has accepted or rejected. */
interface Outcome {
  readonly written: number;
  readonly rejected: number;
  /** What the database said of those it rejected; null when it took all. */
  readonly reason: string | null;
}

/**
 * Writes points in order, one request at a time. From the first failure on, what was not taken and all that comes goes to the spool; the
 * spool is emptied before anything newer is sent. A request is repeated byte for byte, so that what was taken without
 * a response overwrites itself.
 */
export class Sender {
  readonly #options: Required<SenderOptions>;
  #lines: string[] = [];
  /** Whose they are: as many points as there are lines. */
  #shares: { readonly lot: Lot | null; points: number }[] = [];
  #lineBytes = 0;
  #memory: SpoolRecord[] = [];
  #memoryBytes = 0;
  #state: SenderState = 'IDLE';
  #problem: string | null = null;
  #ensured = false;
  #counts = { accepted: 0, written: 0, rejected: 0, recovered: 0 };
  readonly #lag = new Lag();
  #retryMs = 0;
  #linger: NodeJS.Timeout | null = null;
  #wake: () => void = () => {};
  readonly #closing = new AbortController();
  #running: Promise<void> | null = null;

  constructor(options: SenderOptions) {
    this.#options = { timeoutMs: 10_000, lingerMs: 500, firstRetryMs: 250, maxRetryMs: 15_000, ...options };
    this.#counts.accepted = options.spool.points; // of a server before this one
    this.#lag.took(this.#counts.accepted, performance.now());
  }

  get stats(): SenderStats {
    const { spool } = this.#options;
    const { accepted, written, rejected, recovered } = this.#counts;
    const dropped = spool.dropped - recovered;
    return {
      state: this.#state,
      problem: this.#problem,
      accepted,
      written,
      rejected,
      dropped,
      queued: accepted - written - rejected - dropped,
      spooled: spool.points,
      spoolBytes: spool.bytes,
    };
  }

  /**
   * Of those accepted, in their order, how many a crash of the server can no longer take: the database has decided on them,
   * or they are on disk.
   */
  get safe(): number {
    const { accepted, queued, spooled } = this.stats;
    return accepted - (queued - spooled);
  }

  /** Of the spool: it outlives the server, and is one server's at a time. */
  get spoolId(): string {
    return this.#options.spool.id;
  }

  /** How long the oldest point that is not in the database has waited; those of a server before this one since its start. */
  get lagMs(): number {
    const { accepted, queued } = this.stats;
    return this.#lag.ageMs(accepted - queued, performance.now());
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Takes lines without their ends, all of one lot. Resolves when there is room for more: at once, unless they go to disk. The lot is told
   * of points that will never be in the database.
   */
  async push(lines: readonly string[], lot: Lot | null = null): Promise<void> {
    if (lines.length) this.#shares.push({ lot, points: lines.length });
    let bytes = 0;
    for (const line of lines) {
      this.#lines.push(line);
      bytes += line.length;
    }
    this.#counts.accepted += lines.length;
    this.#lag.took(this.#counts.accepted, performance.now());
    this.#lineBytes += bytes;
    if (this.#lines.length >= BATCH_POINTS || this.#lineBytes >= BATCH_BYTES) await this.flush();
    else this.#linger ??= setTimeout(() => void this.flush(), this.#options.lingerMs);
  }

  /** Sends what it can in two seconds, the rest stays on disk for the next server. Idempotent. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    await this.flush();
    const until = Date.now() + DRAIN_MS;
    while (
      this.#running &&
      this.#state !== 'AWAY' &&
      this.#state !== 'REFUSED' &&
      this.stats.queued > 0 &&
      Date.now() < until
    )
      await sleep(10);
    this.#closing.abort();
    this.#wake();
    await this.#running;
    await this.spill();
    await this.#options.spool.close();
  }

  /** Makes records of the lines that wait for others. */
  async flush(): Promise<void> {
    if (this.#linger) clearTimeout(this.#linger);
    this.#linger = null;
    const lines = this.#lines;
    const shares = this.#shares;
    this.#lines = [];
    this.#shares = [];
    this.#lineBytes = 0;
    const records: SpoolRecord[] = [];
    for (let at = 0; at < lines.length;) {
      let bytes = 0;
      let end = at;
      while (end < lines.length && end - at < BATCH_POINTS && bytes < BATCH_BYTES)
        bytes += (lines[end++]?.length ?? 0) + 1;
      records.push({
        payload: Buffer.from(`${lines.slice(at, end).join('\n')}\n`),
        points: end - at,
        shares: taken(shares, end - at),
      });
      at = end;
    }
    for (const record of records) this.#memoryBytes += record.payload.length;
    this.#memory.push(...records);
    const slow = this.#memoryBytes > MEMORY_BYTES;
    if (this.#state === 'AWAY' || this.#state === 'REFUSED' || !this.#options.spool.isEmpty || slow) await this.spill();
    this.#wake();
  }

  /** All that is in memory goes to disk, behind what is there. */
  async spill(): Promise<void> {
    const records = this.#memory;
    this.#memory = [];
    this.#memoryBytes = 0;
    // Called in order before anything else can be: the spool keeps the order of the calls.
    await Promise.all(records.map((record) => this.#keep(record)));
  }

  async #keep(record: SpoolRecord): Promise<void> {
    try {
      await this.#options.spool.append(record);
    } catch (error) {
      this.#problem = `the spool cannot be written: ${messageOf(error)}`;
      this.#options.log.error({ err: error, points: record.points }, 'spooling points for InfluxDB');
    }
  }

  async #run(): Promise<void> {
    const { spool } = this.#options;
    while (!this.#closing.signal.aborted) {
      const spooled = await spool.peek();
      const record = spooled ?? this.#memory[0];
      if (!record) {
        await this.#rest();
        continue;
      }
      const outcome = await this.#send(record);
      if ('kind' in outcome) {
        await this.spill(); // the first to the disk is the one that failed
        await this.#wait(outcome);
      } else await this.#settle(record, outcome, spooled !== null);
    }
  }

  /** Takes a record that was sent out of the queue, wherever it is by now. */
  async #settle(record: SpoolRecord, { written, rejected, reason }: Outcome, wasSpooled: boolean): Promise<void> {
    const { spool, log } = this.#options;
    if (!wasSpooled && this.#memory[0] === record) {
      this.#memory.shift();
      this.#memoryBytes -= record.payload.length;
    } else {
      // From memory it was spilled as the first: the spool was empty then.
      const first = wasSpooled ? record : await spool.peek();
      const there = first !== null && first.payload.equals(record.payload) && (await spool.acknowledge(first));
      if (!there) {
        // The spool dropped and counted it meanwhile.
        this.#counts.recovered += record.points;
        refuse(record.shares ?? [], -record.points);
      }
    }
    refuse(record.shares ?? [], rejected);
    this.#counts.written += written;
    this.#counts.rejected += rejected;
    this.#state = 'CONNECTED';
    this.#retryMs = 0;
    if (reason !== null) {
      log.warn({ rejected, reason }, 'InfluxDB rejects points');
      this.#problem = `${REJECTED}: ${reason}`;
    } else if (!this.#problem?.startsWith(REJECTED)) this.#problem = null;
  }

  /** Sends a record whole, in parts if it must. */
  async #send(record: SpoolRecord): Promise<Outcome | Failure> {
    const failure = await this.#attempt(record);
    if (!failure) return { written: record.points, rejected: 0, reason: null };
    if (failure.kind === 'TOO_LARGE' && record.points > 1) {
      const [first, second] = halvesOf(record);
      const before = await this.#send(first);
      const after = 'kind' in before ? before : await this.#send(second);
      if ('kind' in before || 'kind' in after) return after;
      return {
        written: before.written + after.written,
        rejected: before.rejected + after.rejected,
        reason: before.reason ?? after.reason,
      };
    }
    if (failure.kind !== 'REJECTED' && failure.kind !== 'TOO_LARGE') return failure;
    const rejected = Math.min(failure.points ?? record.points, record.points);
    return { written: record.points - rejected, rejected, reason: failure.message };
  }

  async #attempt({ payload }: SpoolRecord): Promise<Failure | null> {
    const { writer, timeoutMs } = this.#options;
    const signal = AbortSignal.any([this.#closing.signal, timeoutSignal(timeoutMs)]);
    try {
      if (!this.#ensured) await writer.ensure(signal);
      this.#ensured = true;
    } catch (error) {
      const failure = failureOf(error);
      return failure.kind === 'AWAY' ? failure : { ...failure, kind: 'REFUSED' }; // it was about the database, not about points
    }
    try {
      await writer.write(payload, signal);
      return null;
    } catch (error) {
      return failureOf(error);
    }
  }

  async #wait({ kind, message, retryAfterMs }: Failure): Promise<void> {
    const refused = kind === 'REFUSED';
    const { firstRetryMs, maxRetryMs, log } = this.#options;
    if (this.#state === 'CONNECTED' || this.#state === 'IDLE')
      log.warn(
        { reason: message },
        refused ? 'InfluxDB refuses points: they are spooled' : 'InfluxDB is away: points are spooled',
      );
    this.#state = refused ? 'REFUSED' : 'AWAY';
    this.#problem = message;
    // A database that comes back may be another one, or without what was made before.
    this.#ensured = false;
    const first = refused ? REFUSED_MS : firstRetryMs;
    this.#retryMs = Math.min(this.#retryMs ? this.#retryMs * 2 : first, refused ? MAX_REFUSED_MS : maxRetryMs);
    const pause = retryAfterMs ?? this.#retryMs * (0.5 + Math.random() / 2);
    await sleep(pause, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }

  async #rest(): Promise<void> {
    if (this.#memory.length || this.#closing.signal.aborted) return;
    await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

/** Takes the shares of the first points. */
function taken(shares: { readonly lot: Lot | null; points: number }[], points: number): LotShares {
  const own: { lot: Lot | null; points: number }[] = [];
  for (let left = points, [first] = shares; left > 0 && first; [first] = shares) {
    const some = Math.min(left, first.points);
    own.push({ lot: first.lot, points: some });
    left -= some;
    first.points -= some;
    if (first.points === 0) shares.shift();
  }
  return own;
}

function halvesOf({ payload, points }: SpoolRecord): [SpoolRecord, SpoolRecord] {
  const lines = payload.toString().trimEnd().split('\n');
  const recordOf = (part: readonly string[]): SpoolRecord => ({
    payload: Buffer.from(`${part.join('\n')}\n`),
    points: part.length,
  });
  return [recordOf(lines.slice(0, points >> 1)), recordOf(lines.slice(points >> 1))];
}
