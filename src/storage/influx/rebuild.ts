import { createContainer } from '../../inventory/container.js';
import type { TraceEvent } from '../../event/event.js';
import type { CatalogTracker } from '../../catalog/catalog.js';
import type { StoredEvent } from '../store.js';
import type { StoredPoint, StoredValue } from './client.js';
import { columnsOf, OWN_TAGS, SEQ, WIDE_SUFFIX, type PointColumn } from './column.js';
import { originalTag, originalText } from './line.js';
import { nanosecondsOf, timeOfNanoseconds } from './point.js';

/** Makes the events of a tracker's points again. What was not stored of a container is as of one of which no engine tells. */
export class Rebuilder {
  readonly #tracker: CatalogTracker;
  readonly #columns: readonly PointColumn[];

  constructor(tracker: CatalogTracker) {
    this.#tracker = tracker;
    this.#columns = columnsOf(tracker);
  }

  read({ time, columns }: StoredPoint): StoredEvent {
    const ns = nanosecondsOf(time);
    const event: Record<string, unknown> = {
      __typename: this.#tracker.eventType,
      time: timeOfNanoseconds(ns),
      container: null,
    };
    for (const column of this.#columns) {
      const [root = '', inner] = column.path.split('.');
      if (root === 'container') continue;
      const { [root]: former } = this.#tracker.formerNames;
      const value =
        valueOf(column, columns) ?? (former === undefined ? null : valueOf({ ...column, name: former }, columns));
      if (inner === undefined) event[root] = value;
      else event[root] = { ...(event[root] as object | undefined), [inner]: value };
    }
    event['tracker'] = this.#tracker.name;
    event['container'] = containerOf(columns);
    const place = {
      session: originalTag(String(columns[OWN_TAGS.session] ?? '')),
      seq: Number(columns[SEQ] ?? 0),
      time: BigInt(ns),
    };
    // A point that something else wrote may lack columns: what the schema calls non-null is then an error of its reader.
    return { event: event as unknown as TraceEvent, place };
  }
}

function valueOf({ name, kind, wide }: PointColumn, columns: StoredPoint['columns']): unknown {
  const value = columns[name] ?? (wide ? columns[`${name}${WIDE_SUFFIX}`] : null) ?? null;
  if (value === null || value === '') return kind === 'text' && value === '' ? '' : null;
  if (wide) return String(value);
  if (kind === 'list') return listOf(originalText(String(value)));
  return typeof value === 'string' ? (kind === 'tag' ? originalTag(value) : originalText(value)) : value;
}

function listOf(value: StoredValue): readonly unknown[] | null {
  try {
    const list: unknown = JSON.parse(String(value));
    return Array.isArray(list) ? list.map((item: unknown) => (typeof item === 'object' ? item : String(item))) : null;
  } catch {
    return null; // another's point
  }
}

function containerOf(columns: StoredPoint['columns']): object | null {
  const text = (name: string): string | null =>
    columns[name] == null || columns[name] === ''
      ? null
      : name === 'container_name' || name === 'container_image'
        ? originalTag(String(columns[name]))
        : originalText(String(columns[name]));
  const id = text('container_id');
  if (id === null) return null;
  return Object.assign(createContainer(id, 'unknown'), {
    name: text('container_name'),
    image: text('container_image'),
    composeProject: text('container_composeProject'),
    composeService: text('container_composeService'),
  });
}
