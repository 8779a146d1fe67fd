import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { ContainerRegistry } from '../../src/inventory/registry.js';
import type { CaptureMode, Demand, ProcessView, TraceEvent } from '../../src/event/event.js';
import { EventFilter, FilterFields, parseCel, SessionFilter } from '../../src/filter/index.js';
import { KernelThread } from '../../src/kernel/thread.js';
import { createLog } from '../../src/base/log.js';
import { watchCgroups } from '../../src/session/cgroups.js';
import { SessionManager } from '../../src/session/manager.js';
import { createRuntime, type TrackerRuntime } from '../../src/record/runtime.js';
import type { Session } from '../../src/session/session.js';
import type { SessionStats, TargetSpec } from '../../src/session/spec.js';
import type { EventStream } from '../../src/session/stream/stream.js';
import { Catalog } from '../../src/catalog/catalog.js';
import type { TrackerOptions } from '../../src/tracker/define.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { dockerSources } from '../../src/inventory/docker/sources.js';
import { specOf } from './spec.js';

/** Real sessions in the test's own process: the real kernel thread, the real BPF programs, no engine unless one is named. */
export interface Harness {
  readonly kernel: KernelThread;
  readonly registry: ContainerRegistry;
  readonly trackers: ReadonlyMap<string, TrackerRuntime>;
  readonly manager: SessionManager;
  close(): Promise<void>;
}

export interface HarnessOptions {
  /** DOCKER_HOST of an engine. */
  readonly engine?: string;
  readonly subscriberBytes?: number;
  readonly logLevel?: string;
}

export async function createHarness({
  engine,
  subscriberBytes = 16 << 20,
  logLevel = 'error',
}: HarnessOptions = {}): Promise<Harness> {
  const log = createLog(logLevel);
  const kernel = new KernelThread();
  const registry = new ContainerRegistry({
    log,
    sources: engine === undefined ? [] : dockerSources({ log, hosts: [engine] }),
  });
  const runtimes = (await loadTrackers()).map(createRuntime);
  const trackers = new Map(runtimes.map((runtime) => [runtime.definition.name, runtime]));
  await watchCgroups(kernel, registry);
  await registry.start();
  const manager = new SessionManager({
    kernel,
    registry,
    trackers,
    subscriberBytes,
    maxSessions: 64,
    stopped: { sessions: 1_000, bytes: 512 << 20 },
    drainMs: 500,
    log,
  });
  return {
    kernel,
    registry,
    trackers,
    manager,
    close: async () => {
      await manager.close();
      await kernel.close();
      await registry.close();
    },
  };
}

/** An event as it was: all fields, copied out. */
export interface Seen {
  readonly tracker: string;
  readonly time: string;
  readonly bootNs: string;
  readonly cgroupId: string;
  readonly process: ProcessView;
  readonly container: { readonly id: string; readonly name: string | null; readonly image: string | null } | null;
  readonly [field: string]: unknown;
}

export function copyOf(event: TraceEvent, runtime: TrackerRuntime): Seen {
  const names = new Set([...runtime.layout.fields.keys(), ...Object.keys(runtime.definition.fields ?? {})]);
  const { pid, tid, ppid, uid, gid, comm, startTime, mountNs } = event.process;
  const { tracker, time, bootNs, cgroupId } = event;
  return {
    ...Object.fromEntries(
      [...names]
        .filter((name) => !name.startsWith('reserved'))
        .map((name) => [name, Reflect.get(event, name) as unknown]),
    ),
    tracker,
    time,
    bootNs,
    cgroupId,
    process: { pid, tid, ppid, uid, gid, comm, startTime, mountNs },
    container: event.container as Seen['container'],
  };
}

/** A session of one tracker, and a reader of it that reads all the time. */
export class Tracked {
  readonly session: Session;
  readonly stream: EventStream;
  /** All that came, in order. */
  readonly events: Seen[] = [];
  readonly #manager: SessionManager;
  readonly #taken = new Set<Seen>();
  readonly #reading: Promise<void>;

  constructor(session: Session, runtime: TrackerRuntime, manager: SessionManager, demand: Demand) {
    this.session = session;
    this.#manager = manager;
    const stream = session.subscribe({ demand });
    this.stream = stream;
    this.#reading = (async () => {
      for await (const { events } of stream) for (const event of events) this.events.push(copyOf(event, runtime));
    })();
  }

  /** Returns the first matching event that was not returned before; waits `limitMs` after the last event for it. */
  async next(wanted: (event: Seen) => boolean, limitMs = 30_000): Promise<Seen> {
    let looked = 0;
    let deadline = Date.now() + limitMs;
    for (;;) {
      if (looked < this.events.length) deadline = Date.now() + limitMs;
      for (; looked < this.events.length; looked++) {
        const event = this.events[looked];
        if (!event || this.#taken.has(event) || !wanted(event)) continue;
        this.#taken.add(event);
        return event;
      }
      if (Date.now() > deadline)
        throw new Error(
          `no such event among ${this.events.length}; the last: ${JSON.stringify(this.events.slice(-5))}`,
        );
      await sleep(5);
    }
  }

  /** Stops, and returns all events that it saw. */
  async stop(): Promise<readonly Seen[]> {
    await this.#manager.stop(this.session.id);
    await this.#reading;
    return this.events;
  }

  stats(): Promise<SessionStats> {
    return this.session.stats();
  }
}

export interface TrackOptions extends Partial<TargetSpec> {
  /** A filter in CEL, pushed into the kernel as far as it goes. */
  readonly where?: string;
  readonly options?: TrackerOptions;
  readonly capture?: CaptureMode;
  readonly fields?: readonly string[];
  readonly ringBytes?: number;
  readonly bufferBytes?: number;
  /** What the reader that comes with it demands; all fields of DEFAULT are captured anyway. */
  readonly demand?: Demand;
}

let shared: Promise<Harness> | null = null;

/** The harness of this test file; closed after its last test. */
export function harness(): Promise<Harness> {
  return (shared ??= createHarness());
}

/** A session's filter in CEL. */
export function sessionFilter(where: string, name: string, trackers: Harness['trackers']): SessionFilter {
  const schema = contractSchema();
  const catalog = new Catalog(
    schema,
    [...trackers.values()].map(({ definition }) => definition),
    (tracker, field) => trackers.get(tracker)?.onDemand.includes(field) ?? false,
  );
  const fields = new FilterFields(schema, catalog);
  return new SessionFilter(
    new EventFilter(parseCel(where, fields, [name]), fields, [name]),
    [catalog.need(name)],
    fields,
  );
}

/** Starts one tracker on a target; it is stopped and removed after the test. */
export async function startTracker(
  name: string,
  { options = {}, capture, fields, ringBytes, bufferBytes, demand = new Map(), where, ...target }: TrackOptions = {},
): Promise<Tracked> {
  const { manager, trackers } = await harness();
  const runtime = trackers.get(name);
  if (!runtime) throw new Error(`no tracker ${name}`);
  const given = {
    capture,
    fields,
    ringBytes,
    bufferBytes,
    where: where === undefined ? undefined : sessionFilter(where, name, trackers),
  };
  const spec = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const session = await manager.start(specOf([{ name, options }], spec, target));
  return new Tracked(session, runtime, manager, demand);
}

afterEach(async () => {
  const manager = (await shared)?.manager;
  for (const session of manager?.list() ?? []) await manager?.remove(session.id);
});

afterAll(async () => {
  await (await shared)?.close();
  shared = null;
});
