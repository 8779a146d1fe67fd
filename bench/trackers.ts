import { loadTrackers } from '#eunomia/catalog/load.js';
import type { CaptureMode } from '#eunomia/event/event.js';
import type { TrackerDefinition } from '#eunomia/tracker/define.js';
import { LocalEunomia } from './batch.js';
import { buildPrograms } from './build.js';
import { rotated } from './cost.js';
import type { Cost, CostFile } from './costs.js';
import { startEmptyAt } from './empty.js';
import { median, type Report } from './figure.js';
import { RING_BYTES, startBpftraceAt } from './peer.js';
import { checkPeer, insideBoth, peers, startPeer, targetOf } from './peers.js';
import { programNs, programRuns, withProgramStats } from './query/program.js';
import { Workload, operations, type CallKind } from './workload.js';

interface Load {
  readonly kind: CallKind;
  readonly calls: number;
  /** What it does to its process stays: it has one of its own. */
  readonly alone?: true;
  /** Of its sessions' rings: smaller where it takes long to fill one. */
  readonly ringBytes?: number;
}

/**
 * What makes an event of each tracker. `executed`, `connected`, `greeted` and `bound` are several system calls and more than one event for
 * some.
 */
const loads: Readonly<Record<string, Load>> = {
  bind: { kind: 'bound', calls: 10_000, ringBytes: 1 << 20 },
  blockcount: { kind: 'fetched', calls: 3_000 },
  blockio: { kind: 'fetched', calls: 3_000 },
  capability: { kind: 'empowered', calls: 50_000 },
  cputhrottle: { kind: 'switched', calls: 20_000 },
  device: { kind: 'probed', calls: 50_000 },
  dns: { kind: 'asked', calls: 20_000 },
  drop: { kind: 'flooded', calls: 50_000 },
  exec: { kind: 'executed', calls: 600, ringBytes: 512 << 10 },
  exit: { kind: 'executed', calls: 600, ringBytes: 64 << 10 },
  fileio: { kind: 'cached', calls: 100_000 },
  flow: { kind: 'exchanged', calls: 20_000 },
  fsop: { kind: 'removed', calls: 50_000 },
  ipc: { kind: 'sought', calls: 50_000 },
  mount: { kind: 'unmounted', calls: 50_000 },
  open: { kind: 'opened', calls: 20_000 },
  opencount: { kind: 'opened', calls: 20_000 },
  packet: { kind: 'exchanged', calls: 20_000 },
  privilege: { kind: 'empowered', calls: 50_000 },
  runqlat: { kind: 'switched', calls: 20_000 },
  seccomp: { kind: 'forbidden', calls: 50_000, alone: true },
  signal: { kind: 'signalled', calls: 50_000, ringBytes: 4 << 20 },
  sni: { kind: 'greeted', calls: 2_000 },
  syscall: { kind: 'trivial', calls: 50_000, ringBytes: 4 << 20 },
  syscount: { kind: 'trivial', calls: 100_000 },
  sysctl: { kind: 'tuned', calls: 20_000 },
  tcp: { kind: 'connected', calls: 2_000, ringBytes: 1 << 20 },
  tcpreset: { kind: 'connected', calls: 2_000 },
  tcpretrans: { kind: 'connected', calls: 2_000 },
  tcprtt: { kind: 'exchanged', calls: 20_000 },
  udp: { kind: 'flooded', calls: 50_000, ringBytes: 4 << 20 },
  unix: { kind: 'misdialled', calls: 50_000, ringBytes: 4 << 20 },
};
/** What they watch is rare: what is measured is what their hooks add where nothing of it happens. */
const eventless: ReadonlySet<string> = new Set(['cputhrottle', 'tcpretrans']);
const rare: ReadonlySet<string> = new Set(['oomkill']);
const TRACEPOINT = 'tp_btf/';
const CPU = 1;
const WATCHED = 'watched, default captures';
const LEAN = 'watched, nothing on demand';
const OTHER = 'another process is watched';
const EMPTY = 'programs on its hooks that do nothing';
const PEER = 'bpftrace prints time, pid and comm at its tracepoints';
/** The same target for both: the process itself, or all where its children act. */
const SAME = 'beside the C program: default captures';
const C = 'a C program on libbpf with the same fields';
const C_OTHER = 'the C program watches another process';
/** Two medians of the same program differ by up to so much on the machines that we saw. */
const NOISE = 0.05;
/** What a run of a program for a process that it does not watch may take longer than that of one that does nothing. */
const UNMATCHED_NS = 100;
const BY_KERNEL = "by the kernel's count of their time";

/**
 * What each tracker adds to what a process does: where it is watched, with the fields that a session captures by default and with none on
 * demand, and where a session watches another process; and what programs on the same hooks add that do nothing, and bpftrace at its
 * tracepoints; and, where there is one, what a C program on libbpf adds that writes the same fields (bench/peers/), whose records are
 * compared with events first. All take turns in each round. The same inside the programs, by the kernel's own count. Also how long a
 * session takes to start, and the bytes of an event. `only`: of these trackers; where it is empty, of all, and `quick` is without bpftrace
 * and C programs then. `costs`: takes what the documentation tells of each.
 */
export async function trackers(
  report: Report,
  options: { readonly quick: boolean; readonly only: readonly string[]; readonly costs: CostFile | null },
): Promise<void> {
  const unknown = options.only.find((name) => !loads[name] && !rare.has(name));
  if (unknown !== undefined) throw new Error(`bench/trackers.ts names no workload for "${unknown}"`);
  await buildPrograms();
  const eunomia = await LocalEunomia.start();
  const workload = await Workload.start({ cpu: CPU, first: true });
  try {
    for (const definition of await loadTrackers()) {
      const { name } = definition;
      if (options.only.length && !options.only.includes(name)) continue;
      const load = loads[name];
      if (rare.has(name)) report.skip(name, 'its hook runs for its events alone, which are rare');
      else if (!load) report.skip(name, 'bench/trackers.ts names no workload for it');
      else {
        const process = load.alone ? await Workload.start({ cpu: CPU, first: true }) : workload;
        const calls = options.quick ? Math.ceil(load.calls / 4) : load.calls;
        const rounds = options.quick ? 3 : 15;
        const peer = !options.quick || options.only.length > 0;
        const cost = await measure(report, eunomia, process, definition, { ...load, calls }, { rounds, peer });
        options.costs?.set(name, cost);
        if (load.alone) await process.close();
      }
    }
  } finally {
    await workload.close();
    await eunomia.close();
  }
}

interface Running {
  /** Who holds its programs, where that is another process. */
  readonly pid?: number;
  /** Throws where it saw nothing of what it watches. Resolves to whether the time of the calls counts. */
  check?(): Promise<boolean>;
  close(): Promise<unknown>;
}

interface Way {
  readonly name: string;
  /** It fills a ring. */
  readonly fills?: true;
  start(): Promise<Running>;
}

async function measure(
  report: Report,
  eunomia: LocalEunomia,
  workload: Workload,
  definition: TrackerDefinition,
  { kind, calls, ringBytes = RING_BYTES }: Load,
  { rounds, peer }: { readonly rounds: number; readonly peer: boolean },
): Promise<Cost> {
  const tracker = definition.name;
  const loadMs: number[] = [];
  const eventBytes: number[] = [];
  // Events of a tracker that aggregates in the kernel come when its counts are read.
  const sees = !definition.kernelAggregate && !eventless.has(tracker);
  const session = async (pid: number | null, capture: CaptureMode): Promise<Running> => {
    const from = performance.now();
    const made = await eunomia.session(tracker, pid, capture, [], {}, ringBytes);
    loadMs.push(performance.now() - from);
    return {
      check: async () => {
        const { lost, received, retained, retainedBytes } = await made.stats();
        if (pid !== process.pid && received === 0 && sees) throw new Error(`${tracker} has no event of ${kind}`);
        if (pid === null && capture === 'DEFAULT' && retained > 0) eventBytes.push(retainedBytes / retained);
        return lost === 0; // a full ring is cheaper to write to than one with room
      },
      close: () => eunomia.remove(made),
    };
  };
  const hasC = peer && tracker in peers;
  const compared = hasC ? await checkPeer(eunomia, workload, tracker, kind) : null;
  const same = targetOf(tracker, workload);
  const hooks = await hooksOf(eunomia, tracker);
  const tracepoints = hooks.filter((hook) => hook.startsWith(TRACEPOINT)).map((hook) => hook.slice(TRACEPOINT.length));
  const ways: readonly Way[] = [
    { name: WATCHED, fills: true, start: () => session(null, 'DEFAULT') },
    { name: LEAN, fills: true, start: () => session(null, 'DEMANDED') },
    { name: OTHER, start: () => session(process.pid, 'DEFAULT') },
    { name: EMPTY, start: () => startEmptyAt(hooks) },
    ...(tracepoints.length && peer ? [{ name: PEER, start: () => startBpftraceAt(tracepoints, workload.pid) }] : []),
    ...(hasC
      ? [
          { name: SAME, fills: true as const, start: () => session(same, 'DEFAULT') },
          { name: C, fills: true as const, start: () => startPeer(tracker, same, { silent: false, ringBytes }) },
          { name: C_OTHER, start: () => startPeer(tracker, process.pid, { silent: true, ringBytes }) },
        ]
      : []),
  ];
  // The first time that a page of a ring is written to, a virtual machine may have to get it from its host: some 15 µs.
  const whole = compared ? Math.ceil((ringBytes / compared.bytes) * 1.05) : 0;
  const warmUp = async (fills?: true): Promise<void> =>
    void (await workload.nsPerCall(kind, fills ? Math.max(calls / 10, whole) : calls / 10));
  const nsPerCall = async (fills?: true): Promise<number> => {
    await warmUp(fills);
    return workload.nsPerCall(kind, calls);
  };
  const untraced: number[] = [];
  const added = new Map(ways.map(({ name }): [string, number[]] => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const base = await nsPerCall();
    untraced.push(base);
    for (const { name, fills, start } of rotated(ways, round)) {
      const running = await start();
      try {
        const ns = await nsPerCall(fills);
        if ((await running.check?.()) ?? true) added.get(name)?.push(ns - base);
      } finally {
        await running.close();
      }
    }
  }
  report.add(`${tracker}: ${kind}, not traced`, median(untraced), 'ns');
  for (const { name } of ways) {
    const samples = added.get(name) ?? [];
    const note = `median of ${samples.length} rounds`;
    if (samples.length === 0) report.skip(`${tracker}: ${name}`, 'events were lost in each round');
    else report.add(`${tracker}: ${kind}, ${name}`, median(samples), 'ns added', null, note);
  }
  if (hasC) {
    const [ours, theirs] = [SAME, C].map((name) => median(added.get(name) ?? []));
    addRatio(
      report,
      `${tracker}: ${kind}, to the C program`,
      ours,
      theirs,
      `${compared?.values} values are the same in both`,
    );
  }
  report.add(`${tracker}: start of a session`, median(loadMs), 'ms', null, 'its programs loaded and attached');
  if (eventBytes.length) report.add(`${tracker}: an event of ${kind}`, median(eventBytes), 'bytes');
  const few = Math.ceil(calls / 10);
  const work = async (): Promise<void> => void (await workload.nsPerCall(kind, few));
  const runs = await runsOf(hooks, work, few);
  const goal = { goal: UNMATCHED_NS, better: 'lower' } as const;
  report.add(
    `${tracker}: a run for another process, beyond one that does nothing`,
    (median(added.get(OTHER) ?? []) - median(added.get(EMPTY) ?? [])) / runs,
    'ns',
    goal,
    `${runs.toFixed(1)} runs for ${kind}`,
  );
  const inside = await insideOf(
    ways.filter(({ name }) => name !== PEER),
    { warmUp, work, calls: few, rounds: Math.max(hasC ? 3 : 1, Math.ceil(rounds / 3)) },
  );
  for (const [name, { perCall }] of inside)
    report.add(`${tracker}: ${kind}, ${name}: inside its programs`, median(perCall), 'ns', null, BY_KERNEL);
  if (hasC) {
    const both = await insideBoth(workload, kind, {
      ours: () => session(same, 'DEFAULT'),
      peer: () => startPeer(tracker, same, { silent: false, ringBytes }),
      warmUp: () => warmUp(true),
    });
    if (!both) report.skip(`${tracker}: inside both`, 'events were lost each time');
    else {
      report.add(`${tracker}: ${kind}, both attached: inside ours`, both.ours, 'ns', null, BY_KERNEL);
      report.add(`${tracker}: ${kind}, both attached: inside the C program`, both.peer, 'ns', null, BY_KERNEL);
      addRatio(report, `${tracker}: ${kind}, inside ours to inside the C program`, both.ours, both.peer, BY_KERNEL);
    }
  }
  const [other = Number.NaN, empty = Number.NaN] = [OTHER, EMPTY].map((name) => median(inside.get(name)?.perRun ?? []));
  report.add(
    `${tracker}: a run for another process, beyond one that does nothing, inside the programs`,
    other - empty,
    'ns',
    goal,
    BY_KERNEL,
  );
  const addedNs = (name: string): number | null => medianOf(added.get(name));
  const aside = eventless.has(tracker) ? ' (nothing that it watches happens)' : '';
  return {
    operation: `${operations[kind]}${aside}`,
    untracedNs: median(untraced),
    watchedNs: addedNs(WATCHED),
    leanNs: addedNs(LEAN),
    otherNs: addedNs(OTHER),
    emptyNs: addedNs(EMPTY),
    insideNs: medianOf(inside.get(WATCHED)?.perCall),
    eventBytes: medianOf(eventBytes),
    startMs: median(loadMs),
    rounds,
  };
}

function medianOf(values: readonly number[] = []): number | null {
  return values.length ? median(values) : null;
}

function addRatio(report: Report, name: string, ours = Number.NaN, theirs = Number.NaN, note: string): void {
  report.add(name, ours / theirs, 'times', { goal: 1, better: 'lower', noise: NOISE }, note);
}

interface Inside {
  /** Nanoseconds inside all of its programs for one of the calls, and what else the machine did meanwhile. */
  readonly perCall: number[];
  /** Of one run of a program, whoever it was for. */
  readonly perRun: number[];
}

/**
 * What the kernel counts inside the programs, by way: exact also where a call differs from time to time by more than its hooks take. The
 * way into a program and out of it is not in it.
 */
async function insideOf(
  ways: readonly Way[],
  {
    warmUp,
    work,
    calls,
    rounds,
  }: {
    readonly warmUp: (fills?: true) => Promise<void>;
    readonly work: () => Promise<void>;
    readonly calls: number;
    readonly rounds: number;
  },
): Promise<ReadonlyMap<string, Inside>> {
  const count = async (pid?: number, fills?: true): Promise<{ readonly ns: number; readonly runs: number }> => {
    await warmUp(fills);
    const before = { ns: programNs(pid), runs: programRuns(pid) };
    await work();
    return { ns: programNs(pid) - before.ns, runs: programRuns(pid) - before.runs };
  };
  return withProgramStats(async () => {
    const inside = new Map(ways.map(({ name }): [string, Inside] => [name, { perCall: [], perRun: [] }]));
    for (let round = 0; round < rounds; round++) {
      const own = await count(); // of the server's own programs, which run in any case
      for (const { name, fills, start } of rotated(ways, round)) {
        const running = await start();
        try {
          const { pid } = running;
          const { ns, runs } = await count(pid, fills);
          const less = pid === undefined ? own : { ns: 0, runs: 0 };
          inside.get(name)?.perCall.push((ns - less.ns) / calls);
          inside.get(name)?.perRun.push((ns - less.ns) / (runs - less.runs));
        } finally {
          await running.close();
        }
      }
    }
    return inside;
  });
}

/** What its programs are attached to; iterators run once, at the start. */
async function hooksOf(eunomia: LocalEunomia, tracker: string): Promise<readonly string[]> {
  const session = await eunomia.session(tracker, null, 'DEFAULT');
  try {
    const hooks = session.explain().trackers.flatMap((one) => one.hooks);
    return hooks.filter((hook) => !hook.startsWith('iter/'));
  } finally {
    await eunomia.remove(session);
  }
}

/** How often programs on these hooks run for each of the calls. */
async function runsOf(hooks: readonly string[], work: () => Promise<void>, calls: number): Promise<number> {
  const empty = await startEmptyAt(hooks);
  try {
    return await withProgramStats(async () => {
      const before = programRuns();
      await work();
      return (programRuns() - before) / calls;
    });
  } finally {
    await empty.close();
  }
}
