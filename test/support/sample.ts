import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  buildSchema,
  getNamedType,
  isEnumType,
  isListType,
  isNonNullType,
  isObjectType,
  type GraphQLObjectType,
  type GraphQLOutputType,
} from 'graphql';
import { eventTypeName } from '../../src/base/names.js';
import { root } from '../../src/base/paths.js';
import { DetailsTemplate } from '../../src/event/details.js';
import { dataFields } from '../../src/event/data-field.js';
import { rowOf } from '../../src/event/scalar.js';

type Fields = Readonly<Record<string, unknown>>;

/** An event of each tracker, which a test made with a real kernel, with the fields that docs/trackers.md shows. */
export const samples = JSON.parse(readFileSync(join(root, 'docs/samples.json'), 'utf8')) as Readonly<
  Record<string, Fields>
>;

const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));

/** A recording, as `eunomia export` writes it, of one sample of each of these trackers, with what `change` changes of each. */
export function recordingOf(trackers: readonly string[], change: (event: Fields, tracker: string) => Fields): string {
  const session = { id: 's', name: null, labels: [], trackers, startedAt: null };
  const lines = [
    { eunomia: { recording: 1, version: '0.1.0', fields: null, session } },
    ...trackers.map((tracker) => whole(tracker, change(samples[tracker] ?? {}, tracker))),
    { end: { items: String(trackers.length), lost: '0', dropped: '0', complete: true, state: 'STOPPED' } },
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

function whole(tracker: string, event: Fields): Fields {
  const type = schema.getType(eventTypeName(tracker));
  if (!isObjectType(type)) throw new Error(`there is no ${eventTypeName(tracker)}`);
  return { ...objectOf(type, { ...event, tracker }), tracker };
}

/** With each field that a recording has to have. */
function objectOf(type: GraphQLObjectType, given: Fields): Fields {
  return Object.fromEntries(
    dataFields(type)
      .filter(({ args }) => args.length === 0)
      .map(({ name, type: of }) => [name, valueOf(of, given[name])]),
  );
}

function valueOf(type: GraphQLOutputType, given: unknown): unknown {
  const isNeeded = isNonNullType(type);
  const inner = isNeeded ? type.ofType : type;
  if (given === null || (given === undefined && !isNeeded)) return null;
  if (isListType(inner)) return given ?? [];
  if (isObjectType(inner)) return objectOf(inner, (given ?? {}) as Fields);
  if (given !== undefined) return given;
  const named = getNamedType(inner);
  if (isEnumType(named)) return named.getValues()[0]?.name;
  const { column } = rowOf(named.name);
  if (column === 'bool') return false;
  if (column === 'time') return '2026-01-31T08:15:30.000000000Z';
  if (column === 'text') return '';
  return column.endsWith('64') ? '0' : 0;
}

/** What a template (`DetailsTemplate`) tells of a tracker's sample. */
export function detailsOf(tracker: string, template: string): string {
  const type = schema.getType(eventTypeName(tracker));
  const types = isObjectType(type) ? type.getFields() : {};
  return new DetailsTemplate(template).render((field) => ({
    value: samples[tracker]?.[field],
    type: String(types[field]?.type ?? 'String'),
  }));
}
