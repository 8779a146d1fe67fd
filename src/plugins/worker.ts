import { parentPort, workerData } from 'node:worker_threads';
import { serveChannel } from '../base/channel.js';
import { messageOf } from '../base/errors.js';
import type { TraceEvent } from '../event/event.js';
import { BatchReader } from '../record/wire.js';
import { ownThread } from './cpu.js';
import { DeadError, type Realm } from './realm.js';
import { Outbox } from './outbox.js';
import type { Done, PluginError, PluginProtocol, PluginThreadSpec } from './protocol.js';
import { TrustedRealm } from './trusted.js';

/** A plugin's thread: evaluates its source, then handles each call in order. */

const MEMORY_EVERY_MS = 1000;
const spec = workerData as PluginThreadSpec;
const port = parentPort;
if (!port) throw new Error('a plugin runs in a thread of its own');

let reader: BatchReader | null = null;
let outbox = new Outbox({}, '');
let memory = { bytes: 0, at: Number.NEGATIVE_INFINITY };

let realm: Realm | null = null;

/** The realm has ended: the server hears of it before anything else, and ends the thread. */
function die(error: unknown): never {
  note('dead', error instanceof DeadError ? error.plugin : { message: messageOf(error), at: null });
  port?.close();
  throw error;
}

async function call(hook: (realm: Realm) => Promise<PluginError | null> | PluginError | null): Promise<Done> {
  const since = performance.now();
  try {
    if (!realm) throw new Error('the plugin was not loaded');
    const error = await hook(realm);
    const now = performance.now();
    if (now - memory.at > MEMORY_EVERY_MS) memory = { bytes: realm.memoryBytes(), at: now };
    return { outcome: outbox.take(), error, busyMs: now - since, memoryBytes: memory.bytes };
  } catch (error) {
    return die(error);
  }
}

async function load(): Promise<{ readonly definition: unknown }> {
  try {
    realm =
      spec.realm === 'TRUSTED'
        ? new TrustedRealm(spec)
        : await (await import('./sandbox.js')).SandboxRealm.create(spec);
    return { definition: realm.definition };
  } catch (error) {
    return die(error);
  }
}

const note = serveChannel<PluginProtocol>(
  port,
  {
    asks: {
      load,
      start: ({ facts, options, session, trackers }) =>
        call(async (running) => {
          outbox = new Outbox(facts.metrics, session.id);
          reader = await BatchReader.create(trackers, session.id);
          return running.start(facts, options, session, outbox);
        }),
      batch: ({ message, from, to, gap }) =>
        call((running) => {
          const batch = reader?.read(message);
          const events: TraceEvent[] = [];
          for (let i = from; batch && i < to; i++) events.push(batch.event(i));
          return running.batch(events, gap);
        }),
      interval: () => call((running) => running.interval()),
      stop: () => call((running) => running.stop()),
    },
    posts: {},
  },
  { code: 'INTERNAL_SERVER_ERROR', inOrder: true },
);
note('began', ownThread());
