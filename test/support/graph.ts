import fc from 'fast-check';
import type { Image, Told } from '../../src/graph/process.js';
import { ProcessTable } from '../../src/graph/table.js';

/** Processes that fork, execute, rename themselves and end: a table of them, and what a filter should find by a model of its own. */

export const CLOCK = { seconds: 1_700_000_000, nanoseconds: 0 };
export const MS = 1_000_000;
const NAMES = ['sshd', 'sh', 'cat', 'cron'] as const;

export function told(pid: number, startNs: number, more: Partial<Told>): Told {
  const traits = { comm: 'sh', uid: 0, gid: 0, cgroupId: 7, mountNs: 8, initPid: 0, initStart: 0 };
  return { ...traits, pid, startNs, ppid: 0, parentStartNs: null, atNs: startNs, ...more };
}

export const image = (name: string): Image => ({
  executable: `/bin/${name}`,
  executableState: 'ROOTED',
  executableDeleted: false,
  args: [name],
  argsTruncated: false,
  cwd: '/',
  cwdState: 'ROOTED',
  cwdDeleted: false,
});

/** What was told, as simply as can be: a process, and what it was from when on. */
export interface Model {
  readonly pid: number;
  readonly startNs: number;
  readonly parent: Model | null;
  readonly eras: Era[];
}

/** `program`: differs between any two execs. */
interface Era {
  readonly sinceNs: number;
  readonly comm: string;
  readonly executable: string;
  readonly program: number;
}

/** Eight are kept: programs rather than their names, and the newest. */
function begin({ eras }: Model, era: Era): void {
  eras.push(era);
  if (eras.length <= 8) return;
  const names = eras.filter((one, i) => i < 8 && eras[i - 1]?.program === one.program);
  eras.splice(eras.indexOf(names[0] ?? (eras[0] as Era)), 1);
}

export type Step = readonly [kind: 'fork' | 'exec' | 'rename' | 'exit', which: number, name: (typeof NAMES)[number]];

/** Both hear the same: one step a millisecond. */
export function grown(steps: readonly Step[]): { table: ProcessTable; models: Model[]; endNs: number } {
  const table = new ProcessTable(1 << 30);
  const init: Model = {
    pid: 1,
    startNs: 0,
    parent: null,
    eras: [{ sinceNs: 0, comm: 'init', executable: '/bin/init', program: 0 }],
  };
  table.there([{ ...told(1, 0, { comm: 'init' }), image: image('init') }], 0);
  const models = [init];
  steps.forEach(([kind, which, name], i) => {
    const atNs = (i + 1) * MS;
    const one = models[which % models.length] ?? init;
    const last = one.eras.at(-1) ?? { comm: '', executable: '', program: 0 };
    const of = told(one.pid, one.startNs, { atNs, comm: last.comm, ppid: one.parent?.pid ?? 0 });
    if (kind === 'fork') {
      const child: Model = { pid: models.length + 1, startNs: atNs, parent: one, eras: [{ ...last, sinceNs: atNs }] };
      models.push(child);
      table.forked(told(child.pid, atNs, { comm: last.comm, ppid: one.pid, parentStartNs: one.startNs }));
    } else if (kind === 'exec') {
      begin(one, { sinceNs: atNs, comm: name, executable: `/bin/${name}`, program: i + 1 });
      // Its parent may have ended: who adopted it does not matter.
      table.executed({ ...of, comm: name, ppid: 1, parentStartNs: 0 }, image(name));
    } else if (kind === 'rename') {
      if (name !== last.comm) begin(one, { ...last, sinceNs: atNs, comm: name });
      table.renamed({ ...of, comm: name });
    } else table.exited(of, 0);
  });
  return { table, models, endNs: (steps.length + 1) * MS };
}

export function naive(model: Model, atNs: number): object {
  const era = model.eras.findLast(({ sinceNs }) => sinceNs <= atNs) ?? model.eras[0];
  const { comm = '', executable = '' } = era ?? {};
  return { pid: model.pid, comm, executable, parent: model.parent && naive(model.parent, atNs) };
}

export const shown = (process: unknown): object | null => {
  if (typeof process !== 'object' || process === null) return null;
  const [pid, comm, executable] = ['pid', 'comm', 'executable'].map((name) => Reflect.get(process, name) as unknown);
  return { pid, comm, executable, parent: shown(Reflect.get(process, 'parent')) };
};

/** Half a millisecond behind a step: an exec counts as before an event that is up to 50 µs earlier. */
export const within = ({ startNs }: Model, percent: number, endNs: number): number =>
  Math.max(startNs, Math.floor(((percent / 100) * endNs) / MS) * MS) + MS / 2;

export const steps = fc.array(
  fc.tuple(
    fc.constantFrom('fork' as const, 'fork' as const, 'exec' as const, 'rename' as const, 'exit' as const),
    fc.nat(30),
    fc.constantFrom(...NAMES),
  ),
  { maxLength: 60 },
);
/** Of a process and a time, each as a part of all. */
export const looks = fc.array(fc.tuple(fc.nat(100), fc.nat(100)), { minLength: 1, maxLength: 30 });

export const filters: readonly (readonly [cel: string, naive: (process: object) => boolean])[] = [
  ['process.executable == "/bin/cat"', (one) => get(one, 'executable') === '/bin/cat'],
  ['process.parent.comm == "sshd"', (one) => get(get(one, 'parent'), 'comm') === 'sshd'],
  ['!(process.parent.executable == "/bin/sh")', (one) => get(get(one, 'parent'), 'executable') !== '/bin/sh'],
  ['process.parent == null', (one) => get(one, 'parent') === null],
  ['process.ancestors.exists(p, p.comm == "sshd")', (one) => ancestors(one).some((p) => get(p, 'comm') === 'sshd')],
  [
    '!process.ancestors.exists(p, p.executable.startsWith("/bin/c") && p.comm != "cron")',
    (one) =>
      !ancestors(one).some((p) => String(get(p, 'executable')).startsWith('/bin/c') && get(p, 'comm') !== 'cron'),
  ],
  [
    'process.ancestors.exists(p, "sshd" in p.args)',
    (one) => ancestors(one).some((p) => get(p, 'executable') === '/bin/sshd'),
  ],
];

export function get(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null ? Reflect.get(of, name) : null;
}
function ancestors(of: object): object[] {
  const parent = get(of, 'parent');
  return typeof parent === 'object' && parent !== null ? [parent, ...ancestors(parent)] : [];
}
