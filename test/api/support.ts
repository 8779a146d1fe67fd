import { createHash } from 'node:crypto';
import { defaultConfig, type Config, type Limits, type Role } from '../../src/base/config.js';
import { createContainer, type Container, type MutableContainer } from '../../src/inventory/container.js';
import { ContainerRegistry } from '../../src/inventory/registry.js';
import type { Bucket, CgroupId, ProcessView, TraceEvent } from '../../src/event/event.js';
import type { ObjectSpec, Unloaded } from '../../src/kernel/object-spec.js';
import type { Chunk, SnapshotRecords, SourceSpec } from '../../src/kernel/protocol.js';
import type { ChunkReceiver, KernelSource } from '../../src/kernel/thread.js';
import { Peers } from '../../src/access/peers.js';
import { ownerOf } from '../../src/kernel/socket-diag.js';
import { compose } from '../../src/server/compose.js';
import type { Ground } from '../../src/server/ground.js';
import type { Session } from '../../src/session/session.js';
import type { SessionKernel } from '../../src/session/source/pool.js';
import { createLog } from '../../src/base/log.js';
import { SnapshotReader } from '../../src/snapshot/reader.js';
import type { RecordBatch } from '../../src/record/batch.js';
import type { TrackerRuntime } from '../../src/record/runtime.js';
import { PLACE, type EventPlace } from '../../src/record/place.js';
import { compileView, type EventView } from '../../src/record/view.js';
import { loadTrackers } from '../../src/catalog/load.js';
import type { Caller } from '../../src/access/caller.js';
import type { PeerCheck } from '../../src/access/peer.js';
import { openListener, type ApiServer } from '../../src/api/http/server.js';
import type { Parts } from '../../src/service/parts.js';
import { Service } from '../../src/service/service.js';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { layoutOf } from '../support/record.js';

/**
 * The real sessions on a kernel that is a list of records: tests decide which events come and when. A record's number
 * decides the values of its fields.
 */
const RECORD_BYTES = 64;
const NUMBER_AT = 52;
const MASK_AT = 56;
const TRACKER_AT = 48;

class FakeProcess implements ProcessView {
  constructor(readonly pid: number) {}
  readonly tid = 7;
  readonly ppid = 1;
  readonly uid = 1000;
  readonly gid = 1000;
  get comm(): string {
    return `worker-${this.pid % 4}`;
  }
  get startTime(): string {
    return '2026-01-31T08:15:30.123456789Z';
  }
  get mountNs(): string | null {
    return this.pid % 2 === 0 ? '4026531841' : null;
  }
}

/** Which bit of the capture mask a fake tracker's field has. */
const captures: Readonly<Record<string, Readonly<Record<string, bigint>>>> = {
  exec: { args: 1n, argsTruncated: 1n, cwd: 2n },
  open: { path: 1n, resolved: 2n },
};

function fakeView(tracker: string): EventView {
  return class implements TraceEvent {
    readonly #batch: RecordBatch;
    readonly #at: number;

    constructor(batch: RecordBatch, at: number) {
      this.#batch = batch;
      this.#at = at;
    }
    get #number(): number {
      return this.#batch.view.getUint32(this.#at + NUMBER_AT, true);
    }
    #captured(field: string): boolean {
      return (BigInt(this.#batch.view.getUint32(this.#at + MASK_AT, true)) & (captures[tracker]?.[field] ?? 0n)) !== 0n;
    }
    get [PLACE](): EventPlace | null {
      return this.#batch.placeAt(this.#at);
    }
    readonly __typename = `${tracker.charAt(0).toUpperCase()}${tracker.slice(1)}Event`;
    readonly tracker = tracker;
    get time(): string {
      return `2026-01-31T08:15:30.${String(this.#number).padStart(9, '0')}Z`;
    }
    get bootNs(): string {
      return String(this.#number);
    }
    get cgroupId(): string {
      return '4242';
    }
    get process(): ProcessView {
      return new FakeProcess(this.#number);
    }
    get container(): object | null {
      return this.#batch.containerAt(this.#at);
    }
    get errno(): string | null {
      return this.#number % 3 === 0 ? 'ENOENT' : null;
    }
    get filename(): string {
      return `/bin/"quoted"/${this.#number}`;
    }
    get executable(): string | null {
      return null;
    }
    get args(): readonly string[] | null {
      return this.#captured('args') ? ['run', String(this.#number)] : null;
    }
    get argsTruncated(): boolean | null {
      return this.#captured('args') ? false : null;
    }
    get cwd(): string | null {
      return this.#captured('cwd') ? '/tmp' : null;
    }
    get parentComm(): string {
      return 'bash';
    }
    get pidNs(): string {
      return '4026531836';
    }
    get netNs(): string {
      return '4026531840';
    }
    get path(): string | null {
      return this.#captured('path') ? `/etc/${this.#number}` : null;
    }
    get fd(): number | null {
      return this.#number % 3 === 0 ? null : 3;
    }
    get name(): string {
      return this.#number % 2 === 0 ? 'read' : 'write';
    }
    get count(): string {
      return '10';
    }
    get errors(): string {
      return '2';
    }
    get durationNs(): string {
      return '30000';
    }
    /** Nine calls of 1 to 2 µs, one of 16 to 33 µs. */
    get durationHistogramNs(): readonly Bucket[] {
      return [10, 11, 12, 13, 14].map((slot) => ({
        from: 2 ** slot,
        to: 2 ** (slot + 1),
        count: slot === 10 ? '9' : slot === 14 ? '1' : '0',
      }));
    }
    get flags(): readonly string[] {
      return ['O_RDONLY'];
    }
  };
}

interface FakeSource {
  readonly spec: SourceSpec;
  readonly deliver: (chunk: Chunk) => void;
  readonly masks: bigint[];
  produced: number;
  lost: number;
  open: boolean;
  /** Events that are aggregated in the kernel, until someone reads them. */
  aggregated: number;
}

/** Stands in for the kernel thread. */
export class FakeKernel implements SessionKernel {
  readonly sources: FakeSource[] = [];
  /** When set, the next load fails with it. */
  refuse: Error | null = null;
  /** What the objects of the next source are without. */
  unloaded: readonly Unloaded[] = [];
  /** Trackers of which somebody asked whether they can run. */
  readonly tried: string[] = [];
  /** What an iterator tells, by the name of its object. */
  readonly records = new Map<string, () => Pick<SnapshotRecords, 'data' | 'offsets'> | Error>();
  /** How often an iterator was read. */
  snapshots = 0;
  onDeath: (error: Error) => void = () => {};
  #number = 0;

  /** An event's time is its number. */
  bootNow(): number {
    return this.#number;
  }

  async snapshot({ name }: ObjectSpec): Promise<SnapshotRecords> {
    this.snapshots++;
    const records = this.records.get(name)?.() ?? { data: new Uint8Array(0), offsets: new Uint32Array(0) };
    if (records instanceof Error) throw records;
    return { ...records, clock: { seconds: 0, nanoseconds: 0 }, from: this.snapshots * 1e9, to: 0, complete: true };
  }

  async load(spec: SourceSpec, receive: ChunkReceiver): Promise<KernelSource> {
    if (this.refuse) throw this.refuse;
    // As in the kernel thread's hands: what was given back cannot be read any more, a chunk comes when the one before
    // is taken, and a response after all of them.
    const take = (chunk: Chunk) =>
      receive(chunk, () => void structuredClone(chunk.data, { transfer: [chunk.data.buffer as ArrayBuffer] }));
    let taking: Promise<void> | null = null;
    const deliver = (chunk: Chunk): void => {
      const work = taking ? taking.then(() => take(chunk)) : take(chunk);
      if (!work) return;
      const mine: Promise<void> = work.then(() => {
        if (taking === mine) taking = null;
      });
      taking = mine;
    };
    const source: FakeSource = {
      spec,
      deliver,
      masks: spec.objects.map(({ capture }) => capture),
      produced: 0,
      lost: 0,
      open: true,
      aggregated: 0,
    };
    this.sources.push(source);
    const counters = () => ({ produced: [source.produced], lost: [source.lost], skippedRuns: 0, ringPeakBytes: 0 });
    return {
      unloaded: this.unloaded,
      setCapture: async (object: number, mask: bigint) => void (source.masks[object] = mask),
      setVerdicts: async () => undefined,
      setDelay: () => {},
      hurry: () => {},
      counters: async () => {
        await taking;
        return counters();
      },
      read: async () => {
        this.#deliverAggregates(source);
        await taking;
      },
      close: async () => {
        this.#deliverAggregates(source);
        source.open = false;
        await taking;
        return counters();
      },
    };
  }

  /** Makes events that stay in the kernel until they are read, or the session stops. */
  sum(count: number): void {
    for (const source of this.sources) if (source.open) source.aggregated += count;
  }

  #deliverAggregates(source: FakeSource): void {
    const { aggregated } = source;
    source.aggregated = 0;
    if (aggregated) this.emit(aggregated);
  }

  /** Hands records as they lie in a ring to the sessions that run. */
  deliver({ data, offsets }: { readonly data: ArrayBuffer; readonly offsets: Uint32Array }): void {
    for (const source of this.sources.filter(({ open }) => open)) {
      source.produced += offsets.length;
      source.deliver({
        data: new Uint8Array(data.slice(0)),
        offsets: offsets.slice(),
        lost: 0,
        clock: { seconds: 1_769_847_330, nanoseconds: 0 },
        readAt: 0,
        readBefore: 0,
      });
    }
  }

  /** Makes events, of the session's trackers in turn, in one chunk of each session that runs. */
  emit(count: number, { lost = 0, cgroupId = 1 } = {}): void {
    const from = this.#number;
    this.#number += count;
    for (const source of this.sources.filter(({ open }) => open)) {
      const data = new ArrayBuffer(count * RECORD_BYTES);
      const view = new DataView(data);
      const offsets = new Uint32Array(count);
      for (let i = 0; i < count; i++) {
        const at = i * RECORD_BYTES;
        const tracker = i % source.spec.objects.length;
        offsets[i] = at;
        view.setUint32(at, from + i, true);
        view.setUint32(at + 8, cgroupId, true);
        view.setUint32(at + NUMBER_AT, from + i, true);
        view.setUint32(at + MASK_AT, Number(source.masks[tracker] ?? 0n), true);
        view.setUint16(at + TRACKER_AT, tracker, true);
      }
      source.produced += count + lost;
      source.lost += lost;
      source.deliver({
        data: new Uint8Array(data),
        offsets,
        lost,
        clock: { seconds: 1_769_847_330, nanoseconds: 0 },
        readAt: from + count,
        readBefore: from,
      });
    }
  }
}

/** Makes the kernel produce events until the returned function is called. */
export function keepEmitting(kernel: FakeKernel, count: number, everyMs: number): () => void {
  const timer = setInterval(() => kernel.emit(count), everyMs);
  return () => clearInterval(timer);
}

export const webContainer: Container = {
  ...createContainer(createHash('sha256').update('web').digest('hex'), 'docker'),
  name: 'web-1',
  image: 'nginx:1.27',
  labels: { tier: 'front', 'com.docker.compose.project': 'shop' },
  state: 'RUNNING',
  cgroupId: 4242,
} satisfies MutableContainer;

/** The registry of a machine with one container: it looks at nothing, since it is not started. */
class OneContainerRegistry extends ContainerRegistry {
  override list(): Container[] {
    return [webContainer];
  }

  override find(reference: string): Container | null {
    return webContainer.name === reference || webContainer.id.startsWith(reference) ? webContainer : null;
  }

  override byCgroup(id: CgroupId): Container | null {
    return webContainer.cgroupId === id ? webContainer : null;
  }

  override *cgroups(): IterableIterator<[CgroupId, Container]> {
    yield [4242, webContainer];
  }

  override cgroupIds(): CgroupId[] {
    return [4242];
  }

  override ready(): boolean {
    return true;
  }
}

async function fakeTrackers(): Promise<ReadonlyMap<string, TrackerRuntime>> {
  return new Map(
    (await loadTrackers()).map((definition) => {
      const bits = captures[definition.name] ?? {};
      const runtime: TrackerRuntime = {
        definition,
        layout: {
          tracker: definition.name,
          size: RECORD_BYTES,
          header: new Map(),
          fields: new Map(),
          second: null,
          captures: new Map(),
        },
        // Of exit, records of the real layout: `FakeKernel.deliver` takes them.
        view: definition.name === 'exit' ? compileView(definition, layoutOf('exit')) : fakeView(definition.name),
        hooks: [`tp_btf/${definition.name}`],
        hooksOf: () => [`tp_btf/${definition.name}`],
        captureOf: (field) => bits[field] ?? 0n,
        allCaptures: Object.values(bits).reduce((all, bit) => all | bit, 0n),
        usualCaptures: Object.values(bits).reduce((all, bit) => all | bit, 0n),
        onDemand: Object.keys(bits),
        objectSpec: () => ({ name: definition.name, path: '', constants: {}, unneeded: [] }),
      };
      return [definition.name, runtime];
    }),
  );
}

export interface Fixture {
  readonly services: Parts;
  readonly service: Service;
  readonly kernel: FakeKernel;
}

export interface FixtureOptions extends Partial<Omit<Config, 'limits'>> {
  readonly limits?: Partial<Limits>;
}

export async function createFixture({ limits, ...options }: FixtureOptions = {}): Promise<Fixture> {
  const config: Config = {
    ...defaultConfig,
    port: 0,
    logLevel: 'silent',
    ...options,
    limits: { ...defaultConfig.limits, ...limits },
  };
  const kernel = new FakeKernel();
  const { parts: services, service } = await compose({
    config,
    log: createLog(config.logLevel),
    schema: contractSchema(),
    ground: await fakeGround(kernel),
  });
  return { services, service, kernel };
}

/** A machine of which nothing is real: the composition stands on it as on any other. */
async function fakeGround(kernel: FakeKernel): Promise<Ground> {
  const registry = new OneContainerRegistry({ log: createLog('silent'), sources: [] });
  return {
    kernel,
    registry,
    trackers: await fakeTrackers(),
    peers: new Peers(ownerOf),
    problem: null,
    engineless: 'no engine in this test',
    start: async () => ({
      facts: {
        release: '6.1.0',
        architecture: 'x86_64',
        cpus: 2,
        libbpf: '1.1',
        features: [{ name: 'btf', available: true, reason: null }],
      },
      trackerStatus: (name) => {
        kernel.tried.push(name);
        return {
          available: name !== 'tcp',
          reason: name === 'tcp' ? 'no tp_btf/inet_sock_set_state' : null,
          hooks: [`tp_btf/${name}`],
          capabilities: ['CAP_BPF', 'CAP_PERFMON'],
          missingCapabilities: name === 'tcp' ? ['CAP_PERFMON'] : [],
          blindSpots: name === 'open' ? ['what this kernel has no tracepoint for'] : [],
        };
      },
      processes: null,
      snapshots: new SnapshotReader(kernel, registry),
      process: (pid) => (pid === process.pid ? new FakeProcess(pid) : null),
    }),
    close: async () => undefined,
  };
}

/** Serves these parts on a port of their own. Rejects as `openListener` does. */
export async function createServer(services: Parts, peers: PeerCheck = new Peers(ownerOf)): Promise<ApiServer> {
  const listener = await openListener(services.config);
  return listener.serve(new Service(services), peers);
}

/** Who asks in this process. */
export function callerOf(role: Role, signal = new AbortController().signal): Caller {
  return { who: 'a test', role, signal };
}

/** A query, mutation or a refusal over plain HTTP. `Data` is what the query selects. */
export async function post<Data = Record<string, never>>(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; json: GraphQLAnswer<Data>; headers: Headers }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  const json = (text ? JSON.parse(text) : {}) as GraphQLAnswer<Data>;
  return { status: response.status, json, headers: response.headers };
}

/** The data of a response that has no errors. */
export function dataOf<Data>({ data, errors }: GraphQLAnswer<Data>): Data {
  if (errors || !data) throw new Error(`the operation failed: ${JSON.stringify(errors)}`);
  return data;
}

export interface GraphQLAnswer<Data = Record<string, never>> {
  readonly data?: Data | null;
  readonly errors?: readonly {
    readonly message: string;
    readonly path?: readonly (string | number)[];
    readonly extensions?: Record<string, unknown>;
  }[];
}

/** The id in the response to startSession. */
export function startedId({ json }: { readonly json: GraphQLAnswer<Readonly<Record<string, unknown>>> }): string {
  const started: unknown = json.data?.['startSession'];
  if (typeof started === 'object' && started !== null && 'id' in started) return String(started.id);
  throw new Error(`no session was started: ${JSON.stringify(json)}`);
}

/** Starts a session over HTTP. */
export async function startedSession(
  { services }: Fixture,
  { url }: ApiServer,
  input = '{ trackers: [{ exec: {} }] }',
): Promise<Session> {
  const session = services.manager.get(
    startedId(await post(url, { query: `mutation { startSession(input: ${input}) { id } }` })),
  );
  if (!session) throw new Error('no session');
  return session;
}
