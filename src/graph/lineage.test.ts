import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import type { TraceEvent } from '../event/event.js';
import { sightedAs } from '../event/sighting.js';
import { compileFilter, FilterFields, parseCel } from '../filter/index.js';
import { eventWith } from '../../test/support/event.js';
import { holdsFor } from '../../test/support/property.js';
import { TableLineage } from './lineage.js';
import type { Image, Told } from './process.js';
import { ProcessTable } from './table.js';

const CLOCK = { seconds: 1_700_000_000, nanoseconds: 0 };
const MS = 1_000_000;
const NAMES = ['sshd', 'sh', 'cat', 'cron'] as const;

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), () => false);
const fields = new FilterFields(schema, catalog);

function lineageOf(table: ProcessTable): TableLineage {
  return new TableLineage({ table, ready: () => null, clock: () => CLOCK, problem: () => null, sinceNs: () => 0n });
}

function told(pid: number, startNs: number, more: Partial<Told>): Told {
  const traits = { comm: 'sh', uid: 0, gid: 0, cgroupId: 7, mountNs: 8, initPid: 0, initStart: 0 };
  return { ...traits, pid, startNs, ppid: 0, parentStartNs: null, atNs: startNs, ...more };
}

const image = (name: string): Image => ({
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
interface Model {
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

type Step = readonly [kind: 'fork' | 'exec' | 'rename' | 'exit', which: number, name: (typeof NAMES)[number]];

/** Both hear the same: one step a millisecond. */
function grown(steps: readonly Step[]): { table: ProcessTable; models: Model[]; endNs: number } {
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

function naive(model: Model, atNs: number): object {
  const era = model.eras.findLast(({ sinceNs }) => sinceNs <= atNs) ?? model.eras[0];
  const { comm = '', executable = '' } = era ?? {};
  return { pid: model.pid, comm, executable, parent: model.parent && naive(model.parent, atNs) };
}

const shown = (process: unknown): object | null => {
  if (typeof process !== 'object' || process === null) return null;
  const [pid, comm, executable] = ['pid', 'comm', 'executable'].map((name) => Reflect.get(process, name) as unknown);
  return { pid, comm, executable, parent: shown(Reflect.get(process, 'parent')) };
};

function eventOf({ pid, startNs }: Pick<Model, 'pid' | 'startNs'>, atNs: number): TraceEvent {
  const event = eventWith('exec', { process: { pid } });
  const seen = { clock: CLOCK, session: null, container: null };
  sightedAs(event.process, { pid, startNs, toleranceNs: 0, atNs, ...seen });
  return event;
}

/** Half a millisecond behind a step: an exec counts as before an event that is up to 50 µs earlier. */
const within = ({ startNs }: Model, percent: number, endNs: number): number =>
  Math.max(startNs, Math.floor(((percent / 100) * endNs) / MS) * MS) + MS / 2;

const steps = fc.array(
  fc.tuple(
    fc.constantFrom('fork' as const, 'fork' as const, 'exec' as const, 'rename' as const, 'exit' as const),
    fc.nat(30),
    fc.constantFrom(...NAMES),
  ),
  { maxLength: 60 },
);
/** Of a process and a time, each as a part of all. */
const looks = fc.array(fc.tuple(fc.nat(100), fc.nat(100)), { minLength: 1, maxLength: 30 });

const filters: readonly (readonly [cel: string, naive: (process: object) => boolean])[] = [
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

function get(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null ? Reflect.get(of, name) : null;
}
function ancestors(of: object): object[] {
  const parent = get(of, 'parent');
  return typeof parent === 'object' && parent !== null ? [parent, ...ancestors(parent)] : [];
}

describe('the processes of events', () => {
  it('and their ancestors are those of the time of the event, in any order of events, while the table goes on', async () => {
    await holdsFor(
      fc.property(steps, steps, looks, (before, after, wanted) => {
        for (const told of [before, [...before, ...after]]) {
          const { table, models, endNs } = grown(told);
          const lineage = lineageOf(table);
          for (const [which, when] of [...wanted, ...wanted]) {
            const model = models[which % models.length];
            if (!model) continue;
            const atNs = within(model, when, endNs);
            expect(shown(lineage.of(eventOf(model, atNs)))).toEqual(naive(model, atNs));
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('are filtered as a naive walk over the graph does', async () => {
    let matched = 0;
    await holdsFor(
      fc.property(steps, looks, (told, wanted) => {
        const { table, models, endNs } = grown(told);
        catalog.lineage = lineageOf(table);
        for (const [cel, expected] of filters) {
          const matches = compileFilter(parseCel(cel, fields, ['exec']), fields, ['exec']);
          for (const [which, when] of wanted) {
            const model = models[which % models.length];
            if (!model) continue;
            const atNs = within(model, when, endNs);
            const result = matches(eventOf(model, atNs));
            expect([cel, result]).toEqual([cel, expected(naive(model, atNs))]);
            if (result) matched++;
          }
        }
      }),
      { numRuns: 100 },
    );
    expect(matched).toBeGreaterThan(100);
  });

  it('are told anew when the table has heard of more', () => {
    const { table, models } = grown([
      ['fork', 0, 'sh'],
      ['fork', 1, 'sh'],
    ]);
    const lineage = lineageOf(table);
    const [, shell, child] = models;
    if (!shell || !child) throw new Error('no processes');
    const at = 10 * MS;
    expect(lineage.of(eventOf(child, at))?.parent?.executable).toBe('/bin/init');
    table.executed(told(shell.pid, shell.startNs, { atNs: 5 * MS, comm: 'sshd' }), image('sshd'));
    const found = lineage.of(eventOf(child, at));
    expect(found?.parent?.executable).toBe('/bin/sshd');
    expect(lineage.of(eventOf(child, 3 * MS))?.parent?.executable).toBe('/bin/init');
    table.renamed(told(shell.pid, shell.startNs, { atNs: 6 * MS, comm: 'sshd: me' }));
    expect(lineage.of(eventOf(child, at))?.parent?.comm).toBe('sshd: me');
    expect(lineage.of(eventOf(child, 5.5 * MS))?.parent?.comm).toBe('sshd');
  });

  it('are null, and match nothing but a test for null, where the table does not know the process', () => {
    catalog.lineage = lineageOf(grown([]).table);
    const event = eventOf({ pid: 77, startNs: 5 }, 10);
    const matches = (cel: string): boolean => compileFilter(parseCel(cel, fields, ['exec']), fields, ['exec'])(event);
    expect(
      [
        'process.executable != "/bin/sh"',
        'process.parent.comm != "sh"',
        'process.ancestors.exists(p, p.comm != "sh")',
        'process.ancestors != null',
        'size(process.args) >= 0',
      ].filter(matches),
    ).toEqual([]);
    expect(
      [
        'process.executable == null',
        'process.parent == null',
        'process.parent.comm == null',
        'process.ancestors == null',
      ].map(matches),
    ).toEqual([true, true, true, true]);
  });

  it('end after 256 ancestors, for filters as for who selects them', () => {
    const { table, models, endNs } = grown([
      ['exec', 0, 'sshd'],
      ...Array.from({ length: 300 }, (_, i): Step => ['fork', i, 'sh']),
    ]);
    catalog.lineage = lineageOf(table);
    const matches = compileFilter(parseCel('process.ancestors.exists(p, p.pid == 1)', fields, ['exec']), fields, [
      'exec',
    ]);
    const at = (index: number): boolean => matches(eventOf(models[index] ?? { pid: 0, startNs: 0 }, endNs));
    expect([at(300), at(257), at(256), at(10), at(0)]).toEqual([false, false, true, true, false]);
  });
});
