import { loadTrackers } from '#eunomia/catalog/load.js';
import { LocalEunomia } from './batch.js';
import { buildPrograms } from './build.js';
import { rotated } from './cost.js';
import { median, type Report } from './figure.js';
import { Workload, type CallKind } from './workload.js';

interface Load {
  readonly kind: CallKind;
  readonly calls: number;
  /** What it does to its process stays: it has one of its own. */
  readonly alone?: true;
}

/**
 * What makes an event of each tracker. `executed`, `connected`, `greeted` and `bound` are several system calls and more than one event for
 * some.
 */
const loads: Readonly<Record<string, Load>> = {
  bind: { kind: 'bound', calls: 10_000 },
  blockcount: { kind: 'fetched', calls: 3_000 },
  blockio: { kind: 'fetched', calls: 3_000 },
  capability: { kind: 'empowered', calls: 50_000 },
  cputhrottle: { kind: 'switched', calls: 20_000 },
  device: { kind: 'probed', calls: 50_000 },
  dns: { kind: 'asked', calls: 20_000 },
  drop: { kind: 'flooded', calls: 50_000 },
  exec: { kind: 'executed', calls: 600 },
  exit: { kind: 'executed', calls: 600 },
  fileio: { kind: 'cached', calls: 100_000 },
  flow: { kind: 'exchanged', calls: 20_000 },
  fsop: { kind: 'removed', calls: 50_000 },
  ipc: { kind: 'sought', calls: 50_000 },
  mount: { kind: 'unmounted', calls: 50_000 },
  open: { kind: 'opened', calls: 20_000 },
  packet: { kind: 'exchanged', calls: 20_000 },
  privilege: { kind: 'empowered', calls: 50_000 },
  runqlat: { kind: 'switched', calls: 20_000 },
  seccomp: { kind: 'forbidden', calls: 50_000, alone: true },
  signal: { kind: 'signalled', calls: 50_000 },
  sni: { kind: 'greeted', calls: 2_000 },
  syscall: { kind: 'trivial', calls: 50_000 },
  syscount: { kind: 'trivial', calls: 100_000 },
  sysctl: { kind: 'tuned', calls: 20_000 },
  tcp: { kind: 'connected', calls: 2_000 },
  tcpreset: { kind: 'connected', calls: 2_000 },
  tcpretrans: { kind: 'connected', calls: 2_000 },
  tcprtt: { kind: 'exchanged', calls: 20_000 },
  udp: { kind: 'flooded', calls: 50_000 },
  unix: { kind: 'misdialled', calls: 50_000 },
};
/** Their events come when the counts are read. */
const aggregating: ReadonlySet<string> = new Set([
  'blockcount',
  'capability',
  'fileio',
  'flow',
  'runqlat',
  'syscount',
  'tcprtt',
]);
/** What they watch is rare: what is measured is what their hooks add where nothing of it happens. */
const eventless: ReadonlySet<string> = new Set(['cputhrottle', 'tcpretrans']);
const rare: ReadonlySet<string> = new Set(['oomkill']);
const CPU = 1;
const WATCHED = 'watched, default captures';
const LEAN = 'watched, nothing on demand';
const OTHER = 'another process is watched';

/**
 * What each tracker adds to what a process does: where it is watched, with the fields that a session captures by default and with none on
 * demand, and where a session watches another process. All take turns in each round. `only`: of these trackers; where it is empty, of all.
 */
export async function trackers(
  report: Report,
  options: { readonly quick: boolean; readonly only: readonly string[] },
): Promise<void> {
  const unknown = options.only.find((name) => !loads[name] && !rare.has(name));
  if (unknown !== undefined) throw new Error(`bench/trackers.ts names no workload for "${unknown}"`);
  await buildPrograms();
  const eunomia = await LocalEunomia.start();
  const workload = await Workload.start({ cpu: CPU });
  try {
    for (const { name } of await loadTrackers()) {
      if (options.only.length && !options.only.includes(name)) continue;
      const load = loads[name];
      if (rare.has(name)) report.skip(name, 'its hook runs for its events alone, which are rare');
      else if (!load) report.skip(name, 'bench/trackers.ts names no workload for it');
      else {
        const process = load.alone ? await Workload.start({ cpu: CPU }) : workload;
        const calls = options.quick ? Math.ceil(load.calls / 4) : load.calls;
        await measure(report, eunomia, process, name, { ...load, calls }, options.quick ? 3 : 15);
        if (load.alone) await process.close();
      }
    }
  } finally {
    await workload.close();
    await eunomia.close();
  }
}

async function measure(
  report: Report,
  eunomia: LocalEunomia,
  workload: Workload,
  tracker: string,
  { kind, calls }: Load,
  rounds: number,
): Promise<void> {
  const ways = [
    { name: WATCHED, start: () => eunomia.session(tracker, null, 'DEFAULT') },
    { name: LEAN, start: () => eunomia.session(tracker, null, 'DEMANDED') },
    { name: OTHER, start: () => eunomia.session(tracker, process.pid, 'DEFAULT') },
  ] as const;
  const nsPerCall = async (): Promise<number> => {
    await workload.nsPerCall(kind, calls / 10);
    return workload.nsPerCall(kind, calls);
  };
  const untraced: number[] = [];
  const added = new Map(ways.map(({ name }): [string, number[]] => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const base = await nsPerCall();
    untraced.push(base);
    for (const { name, start } of rotated(ways, round)) {
      const session = await start();
      try {
        const ns = await nsPerCall();
        const { lost, received } = await session.stats();
        if (name !== OTHER && received === 0 && !aggregating.has(tracker) && !eventless.has(tracker))
          throw new Error(`${tracker} has no event of ${kind}`);
        // A full ring is cheaper to write to than one with room.
        if (lost === 0) added.get(name)?.push(ns - base);
      } finally {
        await eunomia.remove(session);
      }
    }
  }
  report.add(`${tracker}: ${kind}, not traced`, median(untraced), 'ns');
  for (const { name } of ways) {
    const samples = added.get(name) ?? [];
    if (samples.length === 0) report.skip(`${tracker}: ${name}`, 'events were lost in each round');
    else
      report.add(
        `${tracker}: ${kind}, ${name}`,
        median(samples),
        'ns added',
        null,
        `median of ${samples.length} rounds`,
      );
  }
}
