import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { EunomiaError, messageOf } from '../../../errors.js';
import { Database, explain, freeBytes } from './database.js';
import type { Ask, Asks, AskKind, Condition, FromThread, Packet, StoreThreadData, ToThread } from './protocol.js';
import { Retention } from './retention.js';
import { adoptInterrupted, beginSession, endSession, ofAll, removeSession } from './sessions.js';
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

const send = (message: FromThread): void => port.postMessage(message);

let database: Database | null = null;
let writer: EventWriter | null = null;
let retention: Retention | null = null;
let condition: Condition = { kind: 'condition', state: 'PAUSED', problem: 'the store is being opened' };
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
let wake: () => void = () => {};

function tell(state: Condition['state'], problem: string | null): void {
  if (condition.state === state && condition.problem === problem) return;
  condition = { kind: 'condition', state, problem };
  send(condition);
}

function need(): Database {
  if (database) return database;
  throw new EunomiaError('STORE_UNAVAILABLE', `the store is not available: ${condition.problem ?? 'it is closed'}`);
}

async function open(): Promise<void> {
  const opened = await Database.open(data.file, data.tables, data.memoryLimit);
  try {
    if (writer) await writer.use(opened);
    else {
      await adoptInterrupted(opened, data.tables);
      writer = new EventWriter(opened, data.tables);
      await writer.use(opened);
    }
    retention = new Retention(opened, data.tables, data.retentionMs, data.retentionBytes);
  } catch (error) {
    opened.close();
    throw error;
  }
  database = opened;
  await skipWritten(opened);
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
  send({
    kind: 'progress',
    packets: packets.map(({ number, events, bytes, nextSeq }) => ({ number, events, bytes, nextSeq })),
  });
}

/** The one that writes: nobody else uses the writer's connection, but for `exclusively`. */
async function run(): Promise<void> {
  while (!closing || queue.length || written.length) {
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

/** Work on the writer's connection between two transactions. */
function exclusively<Result>(work: (open: Database) => Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    tasks.push(async () => {
      try {
        resolve(await work(need()));
      } catch (error) {
        reject(explain(error, data.file));
      }
    });
    wake();
  });
}

const tasks: (() => Promise<void>)[] = [];

async function step(): Promise<void> {
  if (!writer) return;
  const packet = queue.shift();
  if (packet) {
    written.push(packet);
    await writer.write(packet);
  }
  const due =
    performance.now() - lastCommit >= COMMIT_MS ||
    writer.rows >= COMMIT_ROWS ||
    tasks.length > 0 ||
    waiting.length > 0 ||
    closing;
  if (due && written.length) await commit();
  if (!written.length) for (const task of tasks.splice(0)) await task();
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
      `there is no room left on the file system of ${data.file} (${free >> 10} KiB are free); make room, or set --retention-bytes`,
    );
  lastLook = performance.now();
}

/** What was in the transaction is written again once the file is open anew: DuckDB takes nothing more after some errors. */
async function fail(error: unknown): Promise<void> {
  const why = explain(error, data.file);
  lastLook = 0;
  writer?.abandon();
  try {
    database?.close();
  } catch {
    // It is of no use any more.
  }
  database = null;
  retention = null;
  queue = [...written, ...queue];
  written = [];
  for (const task of tasks.splice(0)) await task();
  tell(writer ? 'PAUSED' : 'FAILED', why.message);
}

const answers: { [Kind in AskKind]: (ask: Extract<Ask, { kind: Kind }>) => Promise<Asks[Kind]['answer']> } = {
  begin: ({ session }) =>
    exclusively(async (open) => {
      const number = await beginSession(open, session);
      await writer?.begin(number, session.trackers);
      return { number };
    }),
  finish: async ({ number, end, nextSeq, containers }) => {
    await flushed();
    await exclusively(async (open) => {
      await writer?.tell(number, containers);
      await endSession(open, number, end, nextSeq);
      writer?.end(number);
    });
    return null;
  },
  flush: async () => {
    await flushed();
    return null;
  },
  query: async ({ sql, values }) => {
    try {
      return { rows: await need().read(sql, values) };
    } catch (error) {
      throw explain(error, data.file);
    }
  },
  remove: async ({ session }) => {
    await exclusively((open) => removeSession(open, session, data.tables));
    return null;
  },
  status: async () => ({ bytes: await need().bytes() }),
  retain: async () => {
    await exclusively(async () => retention?.run());
    return null;
  },
  close: async () => {
    closing = true;
    wake();
    await running;
    database?.close();
    database = null;
    return null;
  },
};

/** Resolves when what has come in until now is committed. Rejects when that cannot be while nothing can be written. */
async function flushed(): Promise<void> {
  if (committed >= received) return;
  if (condition.state !== 'READY') need();
  await new Promise<void>((resolve) => {
    waiting.push({ after: received, resolve });
    wake();
  });
}

port.on('message', (message: ToThread) => {
  if (message.kind === 'events') {
    received++;
    queue.push(message);
    wake();
    return;
  }
  const { id } = message;
  const answer = answers[message.kind] as (ask: Ask) => Promise<Asks[AskKind]['answer']>;
  answer(message).then(
    (value) => send({ kind: 'answer', id, answer: value }),
    (error: unknown) =>
      send({
        kind: 'refusal',
        id,
        code: error instanceof EunomiaError ? error.code : 'STORE_UNAVAILABLE',
        message: messageOf(error),
      }),
  );
});

const running = run();
