import { describe, expect, it } from 'vitest';
import { contractSchema } from '../../api/graphql/schema.js';
import { Catalog } from '../../catalog/catalog.js';
import { loadTrackers } from '../../catalog/load.js';
import type { Bucket } from '../../event/event.js';
import { eventWith, type EventFields } from '../../../test/support/event.js';
import { Aggregator } from './aggregator.js';
import type { MeasureFunction } from './measures/index.js';
import { compileAggregate } from './spec.js';

const catalog = new Catalog(contractSchema(), await loadTrackers(), () => false);

/** Of all events, by name of the measure. */
function measured(
  tracker: string,
  events: readonly EventFields[],
  measures: readonly { readonly fn: MeasureFunction; readonly field: string }[],
): Record<string, number | null> {
  const aggregator = new Aggregator(compileAggregate({ groupBy: [], measures }, catalog, [tracker]));
  aggregator.add(events.map((fields) => eventWith(tracker, fields)));
  const [row] = aggregator.rows();
  return Object.fromEntries(row?.values.map(({ name, number }) => [name, number]) ?? []);
}

const allOf = (field: string) => (['COUNT', 'SUM', 'AVG'] as const).map((fn) => ({ fn, field }));
const bucket = (from: number, count: number): Bucket => ({ from, to: 2 * from, count: String(count) });

describe('measures of a total', () => {
  const sized = { count: '4', bytes: '16384', sizeHistogramBytes: [bucket(4096, 4)] };
  const flushes = { count: '12', bytes: '0', sizeHistogramBytes: null };

  it('are of what has a value: its histogram counts it, and without one it counts nothing', () => {
    expect(measured('blockcount', [sized, flushes], allOf('bytes'))).toEqual({
      'count(bytes)': 4,
      'sum(bytes)': 16384,
      'avg(bytes)': 4096,
    });
    expect(measured('blockcount', [flushes], allOf('bytes'))).toEqual({
      'count(bytes)': 0,
      'sum(bytes)': 0,
      'avg(bytes)': null,
    });
  });

  it('are of what adds to it, where the tracker counts that apart', () => {
    const events = [
      { count: '30', reads: '20', readBytes: '2000', writes: '10', writtenBytes: '40' },
      { count: '5', reads: '0', readBytes: '0', writes: '5', writtenBytes: '20' },
    ];
    expect(measured('fileio', events, [...allOf('readBytes'), ...allOf('writtenBytes')])).toEqual({
      'count(readBytes)': 20,
      'sum(readBytes)': 2000,
      'avg(readBytes)': 100,
      'count(writtenBytes)': 15,
      'sum(writtenBytes)': 60,
      'avg(writtenBytes)': 4,
    });
  });

  it('are of all that the event stands for elsewhere', () => {
    const events = [
      { count: '30', errors: '3' },
      { count: '10', errors: '1' },
    ];
    expect(measured('fileio', events, allOf('errors'))).toEqual({
      'count(errors)': 40,
      'sum(errors)': 4,
      'avg(errors)': 0.1,
    });
  });
});
