import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.js';
import type { TraceEvent } from '../../event.js';
import { BatchReader } from '../../pipeline/wire.js';
import { DeadError, type Engine } from './engine.js';
import { Outbox } from './outbox.js';
import type { Call, PluginError, Reply, ThreadSpec } from './protocol.js';
import { TrustedEngine } from './trusted.js';

/** A plugin's thread: evaluates its source, then answers each call in order. */

const MEMORY_EVERY_MS = 1000;
const spec = workerData as ThreadSpec;
const port = parentPort;
if (!port) throw new Error('a plugin runs in a thread of its own');

let reader: BatchReader | null = null;
let outbox = new Outbox({});
let memory = { bytes: 0, at: Number.NEGATIVE_INFINITY };

const reply = (message: Reply): void => port.postMessage(message);

function die(error: unknown): void {
  reply({ kind: 'dead', error: error instanceof DeadError ? error.plugin : { message: messageOf(error), at: null } });
  port?.close();
}

async function serve(engine: Engine, call: Call): Promise<void> {
  const since = performance.now();
  let error: PluginError | null = null;
  let busyMs = 0;
  if (call.kind === 'start') {
    outbox = new Outbox(call.facts.metrics);
    reader = await BatchReader.create(call.trackers);
    error = engine.start(call.facts, call.options, call.session, outbox);
  } else if (call.kind === 'batch') {
    const batch = reader?.read(call.message);
    const events: TraceEvent[] = [];
    for (let i = call.from; batch && i < call.to; i++) events.push(batch.event(i));
    error = engine.batch(events, call.gap);
  } else if (call.kind === 'interval') error = engine.interval();
  else error = engine.stop();
  const now = performance.now();
  busyMs = now - since;
  if (now - memory.at > MEMORY_EVERY_MS) memory = { bytes: engine.memoryBytes(), at: now };
  reply({ kind: 'done', outcome: outbox.take(), error, busyMs, memoryBytes: memory.bytes });
}

try {
  const engine: Engine =
    spec.engine === 'TRUSTED'
      ? new TrustedEngine(spec)
      : await (await import('./sandbox.js')).SandboxEngine.create(spec);
  let last: Promise<void> = Promise.resolve();
  port.on('message', (call: Call) => {
    last = last.then(() => serve(engine, call)).catch(die);
  });
  reply({ kind: 'loaded', definition: engine.definition });
} catch (error) {
  die(error);
}
