import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { serveChannel, Transferred } from '../../base/channel.js';
import { EunomiaError } from '../../base/errors.js';
import { removeCopies } from './copy.js';
import { Database, explain, freeBytes } from './database.js';
import type { Asks, StoreCondition, Packet, StoreProtocol, StoreThreadData } from './protocol.js';
import { Reserve } from './reserve.js';
import { Retention } from './retention.js';
import {
  adoptInterrupted,
  beginSession,
  endSession,
  endUnwritten,
  ofAll,
  removeSession,
  tellLastKnown,
  updateSession,
} from './sessions.js';
import { EventWriter } from './writer.js';

/** The store's thread: DuckDB, and all that is written to it. Reads run beside the writes, in DuckDB's own threads. */

const data = workerData as StoreThreadData;
const port = parentPort;
if (!port) throw new Error('the store runs in a worker thread');

/** A crash loses what came in since the last commit: at most so long, and as long as a commit takes. */
const COMMIT_MS = 400;
/** Rows of one transaction: they are in memory until its end. */
const COMMIT_ROWS = 120_000;
const RETRY_MS = 1000;
/** With less than this on the file system nothing more is written: DuckDB needs some for what it has begun. */
const LEAST_FREE = 8 << 20;
const LOOK_MS = 2000;
/** Of a copy: free room that it leaves for what is recorded. */
const COPY_LEAVES = 4 * LEAST_FREE;

let database: Database | null = null;
let copying: AbortController | null = null;
let writer: EventWriter | null = null;
let retention: Retention | null = null;
let condition: StoreCondition = { state: 'PAUSED', problem: 'the store is being opened' };
let closing = false;
/** Not yet in a transaction; and in the one that is open. */
let queue: Packet[] = [];
let written: Packet[] = [];
let lastCommit = performance.now();
let lastLook = 0;
/** What must wait until the packets before it are committed, by their number. */
let received = 0;
let committed = 0;
let waiting: { readonly after: number; readonly resolve: () => void }[] = [];
/** Ends of sessions that are not yet in the file. They survive while it cannot be written. */
const ends = new Map<number, PendingEnd>();
const reserve = new Reserve(dirname(data.file), LEAST_FREE);
let wake: () => void = () => {};
/** No number is given twice, so that nothing that is still said of a session that was removed is taken for another's. */
let lastNumber = 0;

interface PendingEnd {
  readonly ask: Asks['finish']['ask'];
  /** It is written behind so many packets. */
  readonly after: number;
  readonly resolve: () => void;
}

function tell(state: StoreCondition['state'], problem: string | null): void {
  if (condition.state === state && condition.problem === problem) return;
  condition = { state, problem };
  note('condition', condition);
}

function need(): Database {
  if (database) return database;
  throw new EunomiaError('STORE_UNAVAILABLE', `the store is not available: ${condition.problem ?? 'it is closed'}`);
}

/** `last`: only to write how sessions ended; nothing more of them is written. */
async function open({ last = false } = {}): Promise<void> {
  const opened = await Database.open(data.file, data.tables, data.memoryBytes);
  try {
    // With DuckDB's lock: another server that has the file may be making a copy.
    if (!writer) await removeCopies(data.file);
    if (writer) await writer.use(opened);
    else {
      await adoptInterrupted(opened, data.tables);
      writer = new EventWriter(opened, data.tables, (seen) => note('seen', seen));
      await writer.use(opened);
    }
    retention = new Retention({
      database: opened,
      tables: data.tables,
      maxAgeMs: data.retentionMs,
      maxBytes: data.retentionBytes,
      exclusively,
      forget: (number) => writer?.forget(number),
      removed: (sessions) => note('removed', { sessions }),
    });
  } catch (error) {
    opened.close();
    throw error;
  }
  database = opened;
  if (last) return;
  await skipWritten(opened);
  await reserve.keep();
}

/** A commit may have failed after it was on disk: what is in the file is not written again. */
async function skipWritten(opened: Database): Promise<void> {
  const next = new Map<number, number>();
  for (const number of new Set(queue.map((packet) => packet.number))) {
    const [row] = await opened.write(
      `SELECT coalesce(max(_seq) + 1, 0) FROM (${ofAll(data.tables, '_seq', `_session = ${number}`)})`,
    );
    next.set(number, Number(row?.[0] ?? 0));
  }
  const isThere = ({ number, events, nextSeq }: Packet): boolean => events > 0 && nextSeq <= (next.get(number) ?? 0);
  done(queue.filter(isThere));
  queue = queue.filter((packet) => !isThere(packet));
}

function done(packets: readonly Packet[]): void {
  if (!packets.length) return;
  committed += packets.length;
  note('progress', {
    packets: packets.map(({ number, events, bytes, nextSeq }) => ({ number, events, bytes, nextSeq })),
  });
}

/** The one that writes: nobody else uses the writer's connection, but for `exclusively`. */
async function run(): Promise<void> {
  while (!closing || queue.length || written.length || ends.size) {
    try {
      if (!database) await open();
      await checkRoom();
      tell('READY', null);
      await step();
    } catch (error) {
      await fail(error);
      if (closing) break;
      await sleep(RETRY_MS);
    }
  }
  for (const { resolve } of waiting.splice(0)) resolve();
}

/**
 * The store closes while it cannot write: the events that wait are lost. Frees the reserve and writes how each session
 * ended, with one gap that has what was lost. Rejects when not even that can be written.
 */
async function writeLastWords(): Promise<void> {
  if (!ends.size) return;
  await reserve.free();
  try {
    if (!database) await open({ last: true });
    for (const { ask } of ends.values()) await writeEnd(need(), ask, true);
    ends.clear();
  } catch (error) {
    throw explain(error, data.file);
  }
}

/** Writes those whose packets are committed. */
async function writeEnds(): Promise<void> {
  for (const [number, { ask, after, resolve }] of ends) {
    if (after > committed) continue;
    await writeEnd(need(), ask);
    ends.delete(number);
    resolve();
  }
}

async function writeEnd(
  opened: Database,
  { number, end, nextSeq, containers, cut }: Asks['finish']['ask'],
  isCut = cut !== null,
): Promise<void> {
  await opened.write('BEGIN');
  await writer?.tell(number, containers);
  if (cut) await tellLastKnown(opened, number, cut);
  if (isCut) await endUnwritten(opened, number, end, nextSeq, data.tables, condition.problem);
  else await endSession(opened, number, end, nextSeq);
  await opened.write('COMMIT');
  writer?.end(number);
}

/** Work on the writer's connection between two transactions. */
function exclusively<Result>(work: (open: Database) => Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    tasks.push(async () => {
      const opened = database;
      try {
        resolve(await work(need()));
      } catch (error) {
        reject(explain(error, data.file));
        // It may have left its transaction open. Without one, there is nothing to take back.
        await opened?.write('ROLLBACK').catch(() => undefined);
      }
    });
    wake();
  });
}

const tasks: (() => Promise<void>)[] = [];

async function step(): Promise<void> {
  if (!writer) return;
  const packet = queue.shift();
  if (packet && !writer.has(packet.number)) done([packet]);
  else if (packet) {
    written.push(packet);
    await writer.write(packet);
  }
  const due =
    performance.now() - lastCommit >= COMMIT_MS ||
    writer.rows >= COMMIT_ROWS ||
    tasks.length > 0 ||
    // Not for each packet of those before them: a commit waits for the disk.
    (queue.length === 0 && (waiting.length > 0 || ends.size > 0 || closing));
  if (due && written.length) await commit();
  if (!written.length) {
    await writeEnds();
    for (const task of tasks.splice(0)) await task();
  }
  if (queue.length || tasks.length) return breathe();
  const left = written.length ? COMMIT_MS - (performance.now() - lastCommit) : LOOK_MS;
  if (left > 0 && !closing) await pause(left);
}

async function commit(): Promise<void> {
  await writer?.commit();
  lastCommit = performance.now();
  done(written);
  written = [];
  waiting = waiting.filter(({ after, resolve }) => after > committed || resolve());
}

/** Lets messages in. */
function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

async function checkRoom(): Promise<void> {
  if (performance.now() - lastLook < LOOK_MS) return;
  const free = await freeBytes(dirname(data.file));
  if (free < LEAST_FREE)
    throw new EunomiaError(
      'STORE_UNAVAILABLE',
      `there is no room left on the file system of ${data.file} (${Math.floor(free / 1024)} KiB are free); ` +
        'make room, or set --retention-bytes',
    );
  lastLook = performance.now();
  await reserve.keep();
}

/** What was in the transaction is written again once the file is open anew: DuckDB takes nothing more after some errors. */
async function fail(error: unknown): Promise<void> {
  const why = explain(error, data.file);
  lastLook = 0;
  writer?.abandon();
  letGo();
  queue = [...written, ...queue];
  written = [];
  // First: what waits is refused with it.
  tell(writer ? 'PAUSED' : 'FAILED', why.message);
  for (const task of tasks.splice(0)) await task();
}

/** What is committed is on disk, whether or not DuckDB has the room to tidy up. */
function letGo(): void {
  try {
    database?.close();
  } catch {
    // It is of no use any more.
  }
  database = null;
  retention = null;
}

/** Resolves when what has come in until now is committed. Rejects when that cannot be while nothing can be written. */
async function flushed(): Promise<void> {
  if (committed >= received) return;
  if (condition.state !== 'READY') need();
  await new Promise<void>((resolve) => {
    waiting.push({ after: received, resolve });
    wake();
  });
}

const note = serveChannel<StoreProtocol>(
  port,
  {
    asks: {
      begin: ({ session }) =>
        exclusively(async (open) => {
          const number = await beginSession(open, session, lastNumber);
          lastNumber = number;
          await writer?.begin(number, session.trackers);
          return { number };
        }),
      update: async ({ number, session }) => {
        await exclusively((open) => updateSession(open, number, session));
        return null;
      },
      finish: async (ask) => {
        await new Promise<void>((resolve) => {
          ends.set(ask.number, { ask, after: received, resolve });
          wake();
        });
        return null;
      },
      flush: async () => {
        await flushed();
        return null;
      },
      query: async ({ sql, values, lane }) => {
        try {
          const parts = await need().readParts(sql, values, lane);
          return new Transferred(
            { parts },
            parts.map(({ block }) => block),
          );
        } catch (error) {
          throw explain(error, data.file);
        }
      },
      copy: async ({ to }) => {
        const aborting = new AbortController();
        copying = aborting;
        try {
          await flushed();
          await need().copy(to, COPY_LEAVES, aborting.signal);
        } catch (error) {
          throw explain(error, to);
        } finally {
          copying = null;
        }
        return null;
      },
      remove: async ({ session }) => {
        await exclusively(async (open) => {
          // What waits to be written of it, and what is still to come, is not written any more.
          for (const number of await removeSession(open, session, data.tables)) {
            writer?.end(number);
            ends.get(number)?.resolve();
            ends.delete(number);
          }
        });
        return null;
      },
      status: async () => ({ bytes: await need().bytes() }),
      retain: async () => {
        need();
        await retention?.run();
        return null;
      },
      close: async () => {
        closing = true;
        wake();
        await running;
        try {
          await writeLastWords();
        } finally {
          letGo();
        }
        return null;
      },
    },
    posts: {
      events: (packet) => {
        received++;
        queue.push(packet);
        wake();
      },
      stopCopy: () => copying?.abort(),
    },
  },
  { code: 'STORE_UNAVAILABLE' },
);

const running = run();
