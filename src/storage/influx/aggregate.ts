import { EunomiaError, invalid } from '../../base/errors.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { AggregateShape, EventQuery, StoredRecord, StoredRow as AggregateRow } from '../store.js';
import { rowsOf } from './combine.js';
import type { Database } from './database.js';
import { checkRange, planAggregate, type PointKind } from './plan.js';
import { lifeOf, rangeOf } from './range.js';
import type { InfluxSessions } from './sessions.js';

/** Arguments that an aggregate's refusal is about where events could be looked at one by one. */
const CANNOT = /^(groupBy|measures|where|window\.slide)/;

interface Parts {
  readonly database: Database;
  readonly sessions: InfluxSessions;
  readonly catalog: Catalog;
}

/** Has the database aggregate. Null where it cannot, and each event has to be read. Rejects with BAD_USER_INPUT or STORE_UNAVAILABLE. */
export async function aggregate(
  { database, sessions, catalog }: Parts,
  query: EventQuery,
  shape: AggregateShape,
): Promise<readonly AggregateRow[] | null> {
  const records = await sessions.known(query.sessions);
  const sources = sourcesOf(records);
  const range = rangeOf(query.sessions === null ? query : lifeOf(query, records), catalog);
  checkRange(range);
  const rows = [];
  try {
    if (shape.window && shape.window.slideMs !== shape.window.sizeMs)
      throw invalid('window.slide', 'rollups have windows that follow each other; leave it out');
    const question = {
      ...range,
      groupBy: shape.groupBy.map(({ path }) => path),
      measures: shape.measures,
      windowMs: shape.window?.sizeMs ?? null,
    };
    // A session has points of one kind, so that nothing is counted twice.
    const plans = sources.map((source) => planAggregate({ ...question, source }));
    for (const plan of plans) {
      const response = await database.aggregate(plan);
      if (response.unsaid.length)
        throw invalid(
          'where',
          `rollups have their tags only, and cannot be filtered by ` +
            `${response.unsaid.map((path) => `"${path}"`).join(', ')} this way; compare a tag with eq, ne, in, ` +
            `prefix, suffix, contains or a glob of * and ?, or leave it out`,
          { fields: response.unsaid },
        );
      const groups = new Set(response.rows.map(({ key }) => JSON.stringify(key))).size;
      if (groups > plan.maxGroups)
        throw new EunomiaError(
          'BAD_USER_INPUT',
          `groupBy: the result has more than ` +
            `${plan.maxGroups.toLocaleString('en-US')} groups; group by fewer fields, or take a shorter range`,
        );
      rows.push(...response.rows);
    }
  } catch (error) {
    // What the database cannot do with events is done here with each of them; rollups have none.
    const canScan =
      error instanceof EunomiaError && CANNOT.test(String(error.details['argument'])) && !sources.includes('ROLLUP');
    if (canScan) return null;
    throw error;
  }
  return rowsOf(rows, shape, Number(range.to - range.from) / 1e9);
}

function sourcesOf(records: readonly StoredRecord[]): PointKind[] {
  const modes = new Set(records.map(({ mode }) => mode));
  return [...(modes.has('EVENTS') ? (['RAW'] as const) : []), ...(modes.has('ROLLUP') ? (['ROLLUP'] as const) : [])];
}
