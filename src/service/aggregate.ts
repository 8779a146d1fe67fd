import { addEvents, Aggregator, type AggregateRow, type AggregateSpec } from '../analysis/aggregate/index.js';
import { inTurns } from '../base/turn.js';
import type { EventQuery, Store } from '../storage/store.js';

/** Where they lie when the store can; else event by event, with others' turns in between. */
export async function aggregateStored(
  store: Store,
  query: EventQuery,
  spec: AggregateSpec,
): Promise<readonly AggregateRow[]> {
  const rows = await store.aggregate(query, spec);
  if (rows) return rows;
  const aggregator = new Aggregator(spec);
  for await (const events of store.scan({ ...query, processes: spec.lineage !== null }))
    await addEvents(aggregator, events);
  return inTurns(aggregator.collecting());
}
