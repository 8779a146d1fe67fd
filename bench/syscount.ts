import { LocalEunomia } from './batch.js';
import { buildPrograms, programs } from './build.js';
import { rotated } from './cost.js';
import { startEmpty } from './empty.js';
import { median, type Report } from './figure.js';
import { Workload } from './workload.js';

const CALLS = 200_000;
const WARM_UP_CALLS = 10_000;
const CPU = 1;
const FULL_ROUNDS = 15;
const QUICK_ROUNDS = 7;
/** A program that aggregates may take a call this many times as long as one that does nothing. */
const GOAL = 2;

const EMPTY = 'empty program at the exit';
const EMPTY_PAIR = 'empty programs at entry and exit';
const COUNTED = 'syscount without latency';
const TIMED = 'syscount with latency';

interface Running {
  close(): Promise<void>;
}

interface Way {
  readonly name: string;
  start(pid: number): Promise<Running>;
}

/** What counting in the kernel costs a system call that does next to nothing, next to programs at the same hooks that do nothing at all. */
export async function syscount(report: Report, options: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  await measureSyscount(report, options.quick ? QUICK_ROUNDS : FULL_ROUNDS);
}

/** All ways take turns in each round, so that what else the machine does hits all of them; the programs must have been built. */
export async function measureSyscount(report: Report, rounds: number): Promise<void> {
  const eunomia = await LocalEunomia.start();
  const ways: readonly Way[] = [
    { name: EMPTY, start: () => startEmpty(programs.emptyObject, ['empty_enter']) },
    { name: EMPTY_PAIR, start: () => startEmpty(programs.emptyObject) },
    { name: COUNTED, start: (pid) => startSyscount(eunomia, pid, null, false) },
    { name: TIMED, start: (pid) => startSyscount(eunomia, pid, null, true) },
    { name: `${COUNTED}, one process`, start: (pid) => startSyscount(eunomia, pid, pid, false) },
  ];
  const untraced: number[] = [];
  const taken = new Map(ways.map(({ name }): [string, number[]] => [name, []]));
  const workload = await Workload.start({ cpu: CPU });
  try {
    for (let round = 0; round < rounds; round++) {
      untraced.push(await nsPerCall(workload));
      for (const { name, start } of rotated(ways, round)) {
        const running = await start(workload.pid);
        try {
          taken.get(name)?.push(await nsPerCall(workload));
        } finally {
          await running.close();
        }
      }
    }
  } finally {
    await workload.close();
    await eunomia.close();
  }

  const of = (name: string): number => median(taken.get(name) ?? []);
  report.add('syscount: getppid, not traced', median(untraced), 'ns/call');
  for (const { name } of ways) report.add(`syscount: ${name}`, of(name), 'ns/call', null, 'getppid and the program');
  report.add(`syscount: ${COUNTED}, to ${EMPTY}`, of(COUNTED) / of(EMPTY), 'times', { goal: GOAL, better: 'lower' });
  report.add(`syscount: ${TIMED}, to ${EMPTY_PAIR}`, of(TIMED) / of(EMPTY_PAIR), 'times', {
    goal: GOAL,
    better: 'lower',
  });
}

/** Counts the calls of one process, or of all, and fails at the end unless it has counted each of the workload's. */
async function startSyscount(
  eunomia: LocalEunomia,
  workload: number,
  target: number | null,
  latency: boolean,
): Promise<Running> {
  const session = await eunomia.session('syscount', target, 'DEMANDED', [], { latency });
  return {
    close: async () => {
      await session.refresh();
      let counted = 0;
      for (const event of session.events()) {
        if (event.process.pid === workload && Reflect.get(event, 'name') === 'getppid')
          counted += Number(Reflect.get(event, 'count'));
      }
      await eunomia.remove(session);
      if (counted !== WARM_UP_CALLS + CALLS)
        throw new Error(`syscount counted ${counted} of ${WARM_UP_CALLS + CALLS} calls`);
    },
  };
}

async function nsPerCall(workload: Workload): Promise<number> {
  await workload.nsPerCall('trivial', WARM_UP_CALLS);
  return workload.nsPerCall('trivial', CALLS);
}
