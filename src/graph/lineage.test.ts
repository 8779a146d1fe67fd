import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import type { TraceEvent } from '../event/event.js';
import { sightedAs } from '../event/sighting.js';
import { compileFilter, FilterFields, parseCel } from '../filter/index.js';
import { eventWith } from '../../test/support/event.js';
import {
  CLOCK,
  filters,
  grown,
  image,
  looks,
  MS,
  naive,
  shown,
  steps,
  told,
  within,
  type Model,
  type Step,
} from '../../test/support/graph.js';
import { holdsFor } from '../../test/support/property.js';
import { TableLineage } from './lineage.js';
import type { ProcessTable } from './table.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), () => false);
const fields = new FilterFields(schema, catalog);

function lineageOf(table: ProcessTable): TableLineage {
  return new TableLineage({
    table,
    boot: 'b',
    ready: () => null,
    clock: () => CLOCK,
    problem: () => null,
    sinceNs: () => 0n,
  });
}

function eventOf({ pid, startNs }: Pick<Model, 'pid' | 'startNs'>, atNs: number): TraceEvent {
  const event = eventWith('exec', { process: { pid } });
  const seen = { clock: CLOCK, session: null, container: null };
  sightedAs(event.process, { pid, startNs, toleranceNs: 0, atNs, ...seen });
  return event;
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
