import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import * as fc from 'fast-check';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { EventFilter, FilterFields, parseCel, SessionFilter } from '../../src/filter/index.js';
import type { Session } from '../../src/session/session.js';
import { Catalog } from '../../src/catalog/catalog.js';
import type { TrackerOptions } from '../../src/tracker/define.js';
import { filterText, type Pools } from './filters.js';
import { copyOf, type Harness } from './session.js';
import { specOf } from './spec.js';
import { ended, start, workloadPath } from './workload.js';

/**
 * A flight of random filters: sessions whose programs evaluate what they can, against a session without a filter whose events the compiled
 * predicate matches, over one workload. Filters of which the kernel evaluates the same share their programs, so that many cost few loads.
 */
export interface Flight {
  readonly filters: number;
  /** Of these, whose sessions had programs that evaluate in the kernel. */
  readonly pushed: number;
  readonly events: number;
  /** Events that a filter took, over all filters. */
  readonly taken: number;
  /** Events that programs did not make, over all filters. */
  readonly refused: number;
  /** Filters of which the sessions and the predicate differ, with how. */
  readonly differences: readonly string[];
}

export interface FlightOptions {
  readonly filters: number;
  /** Sessions at a time. */
  readonly batch: number;
  readonly seed: number;
}

const SETS = [
  ['open'],
  ['open', 'exec'],
  ['exec', 'exit'],
  ['tcp'],
  ['syscall'],
  ['open', 'tcp', 'exit'],
  ['syscount'],
] as const;
/** A ring of another size than the reference's, so that sessions never share the programs that evaluate nothing. */
const RING = 1 << 20;
/** Maps are read at the end alone: readings at an interval come at other moments for each session. */
const OPTIONS: Readonly<Record<string, TrackerOptions>> = { syscount: { every: 3_600_000 } };
const REFERENCE_RING = 1 << 22;
// Two sessions see an event each at its own moment.
const MOMENTS: ReadonlySet<string> = new Set([
  'time',
  'bootNs',
  'durationNs',
  'lifetimeNs',
  'container',
  'durationHistogramNs',
]);

/** Runs it on the harness; nothing of it is left behind. */
export async function fly(harness: Harness, { filters, batch, seed }: FlightOptions): Promise<Flight> {
  const schema = contractSchema();
  const catalog = new Catalog(
    schema,
    [...harness.trackers.values()].map(({ definition }) => definition),
    (name, field) => harness.trackers.get(name)?.onDemand.includes(field) ?? false,
  );
  const fields = new FilterFields(schema, catalog);
  const servers = await Promise.all([listen('127.0.0.1'), listen('::1')]);
  const [v4 = 0, v6 = 0] = servers.map((server) => (server.address() as AddressInfo).port);
  const sum = { filters: 0, pushed: 0, events: 0, taken: 0, refused: 0 };
  const differences: string[] = [];
  try {
    for (let done = 0, round = 0; done < filters; round++) {
      const trackers = SETS[round % SETS.length] ?? SETS[0];
      const targets = trackers.map((name) => catalog.need(name));
      const gate = await openGate(v4, v6);
      const wanted = Math.min(batch, filters - done);
      const texts = fc.sample(filterText(trackers, poolsOf(gate.pid, v4, v6)), {
        numRuns: 3 * wanted,
        seed: seed + round,
      });
      const made = texts.flatMap((text) => filterOrNull(text, fields, trackers) ?? []).slice(0, wanted);
      const one = (where: SessionFilter | null, ringBytes: number): Promise<Session> =>
        harness.manager.start(
          specOf(
            trackers.map((name) => ({ name, options: OPTIONS[name] ?? {} })),
            { where, ringBytes, bufferBytes: 64 << 20 },
            { pids: [gate.pid] },
          ),
        );
      const reference = await one(null, REFERENCE_RING);
      const sessions = await Promise.all(made.map((where) => one(new SessionFilter(where, targets, fields), RING)));
      await gate.run();
      await Promise.all([reference, ...sessions].map((session) => session.stop('REQUESTED')));
      const all = [...reference.events()];
      const { produced } = await reference.stats();
      for (const [index, session] of sessions.entries()) {
        const where = made[index];
        if (!where) continue;
        const expected = all
          .filter(where.matches)
          .map((event) => signature(event, harness))
          .sort();
        const actual = [...session.events()].map((event) => signature(event, harness)).sort();
        const stats = await session.stats();
        const exact =
          stats.lost === 0 &&
          stats.produced === stats.received &&
          stats.received === stats.discarded + stats.delivered &&
          stats.delivered === actual.length;
        if (!exact || expected.join('\n') !== actual.join('\n'))
          differences.push(describe(where.text, expected, actual, stats));
        sum.taken += actual.length;
        sum.refused += produced - stats.produced;
        if (session.explain().trackers.some(({ inKernel }) => inKernel !== null)) sum.pushed++;
      }
      sum.events += all.length;
      sum.filters += sessions.length;
      done += sessions.length;
      for (const session of [reference, ...sessions]) await harness.manager.remove(session.id);
    }
  } finally {
    for (const server of servers) server.close();
  }
  return { ...sum, differences };
}

function filterOrNull(text: string, fields: FilterFields, trackers: readonly string[]): EventFilter | null {
  try {
    return new EventFilter(parseCel(text, fields, trackers), fields, trackers);
  } catch {
    return null; // an empty range, a text that is empty: not valid
  }
}

function signature(event: Parameters<typeof copyOf>[0], { trackers }: Harness): string {
  const runtime = trackers.get(event.tracker);
  if (!runtime) throw new Error(event.tracker);
  const copy = copyOf(event, runtime);
  // Whose thread an aggregate's header is of, the order of CPUs tells.
  const known = runtime.definition.kernelAggregate ? { ...copy, process: copy.process.pid } : copy;
  return JSON.stringify(Object.entries(known).filter(([name]) => !MOMENTS.has(name)));
}

function describe(text: string, expected: readonly string[], actual: readonly string[], stats: object): string {
  const missing = expected.filter((one) => !actual.includes(one));
  const extra = actual.filter((one) => !expected.includes(one));
  return (
    `${text}: ${expected.length} expected, ${actual.length} came; missing ${missing.slice(0, 2).join(' ')}; extra ` +
    `${extra.slice(0, 2).join(' ')}; ${JSON.stringify({ ...stats, subscribers: [] })}`
  );
}

async function listen(host: string): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, host);
  await once(server, 'listening');
  return server;
}

const deep = `/no/${'deep/'.repeat(20)}`;

/** A shell that waits for a line and then does a bit of everything. */
async function openGate(v4: number, v6: number): Promise<{ pid: number; run(): Promise<void> }> {
  const w = await workloadPath();
  const script = [
    'read line',
    ...[
      '/no/such',
      '/etc/passwd',
      '/etc/nothing',
      '/no/pässwd',
      '/no/😀',
      deep,
      `${deep}a`,
      `${deep}b/c`,
      'relative',
      '',
    ].map((path) => `${w} openat '${path}' 0 0`),
    `${w} openat "$(printf '/no/\\377x')" 0 0`,
    `${w} openat /dev/null 0x80001 0`,
    `${w} openat /dev/null 0x241 0600`,
    `${w} openat /etc 0x10000 0`,
    `${w} openat /dev/null 0x101000 0`,
    `${w} creat /no/where 0600 0`,
    `${w} thread-open /no/thread`,
    `setpriv --reuid 65534 --regid 65534 --clear-groups ${w} openat /etc/shadow 0 0`,
    `${w} exit 3`,
    `${w} kill 9`,
    `${w} kill 15`,
    `${w} execve /no/program x`,
    `${w} execve /etc/passwd x`,
    `${w} execve /bin/true x`,
    `${w} connect 127.0.0.1 ${v4}`,
    `${w} connect ::1 ${v6}`,
    `${w} connect ::ffff:127.0.0.1 ${v4}`,
    `${w} connect 127.0.0.1 1`,
    `${w} connect ::1 1`,
    ':',
  ].join('\n');
  const shell = start('/bin/sh', ['-c', script]);
  await once(shell, 'spawn');
  return {
    pid: shell.pid ?? 0,
    run: async () => {
      shell.stdin?.write('\n');
      await ended(shell);
      await sleep(20); // connections that close do so in the background
    },
  };
}

function poolsOf(pid: number, v4: number, v6: number): Pools {
  return {
    pids: [pid, pid + 1, pid + 5, pid + 12, pid + 30],
    uids: [0, 65534],
    gids: [0, 65534],
    cgroups: ['1', '4242'],
    comms: ['workload', 'sh', 'second', 'true', 'work', 'exactly-16-bytes'],
    paths: [
      '/no/such',
      '/etc/passwd',
      '/etc',
      '/no/pässwd',
      '/no/😀',
      deep,
      `${deep}a`,
      `${deep}b/c`,
      deep.slice(0, 64),
      'relative',
      '',
      '/no/\uFFFDx',
      '/no/\\xffx',
      '/dev/null',
      '/no/program',
      '/lib/x86_64-linux-gnu/libc.so.6',
      '/bin/true',
    ],
    addresses: ['127.0.0.1', '::1', '10.0.0.1'],
    networks: ['127.0.0.0/8', '10.0.0.0/8', '0.0.0.0/0', '::/0', '::1/128', '::/1', '::ffff:127.0.0.0/104'],
    ports: [0, 1, v4, v6, 1024],
  };
}
