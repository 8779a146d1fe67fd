import {
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isListType,
  isRequiredInputField,
  type GraphQLInputField,
  type GraphQLInputObjectType,
  type GraphQLInputType,
} from 'graphql';
import { describe, expect, it } from 'vitest';
import { pluginResolvers } from '../api/graphql/resolvers/plugin.js';
import { contractSchema } from '../api/graphql/schema.js';
import { compileAggregate } from '../analysis/aggregate/index.js';
import { compileSelector } from '../inventory/selector.js';
import { filterOf } from '../filter/index.js';
import { snapshotTypes, type SnapshotKind } from '../snapshot/reader.js';
import type {
  AlertFilter,
  ContainerFilter,
  LoadRulesInput,
  ReportInput,
  SavedContentInput,
  SilenceInput,
  StartSessionInput,
  TestRulesInput,
  UpdateSessionInput,
  AdviseInput,
  VerifyAdviceInput,
} from '../generated/schema.js';
import { sessionSpec, updatedSpec } from './input.js';
import { pluginRequests } from './plugins.js';
import { callerOf, createFixture } from '../../test/api/support.js';

// A field of an input that is accepted and read by nobody is a promise that is not kept: this walks all of them.

const schema = contractSchema();
const { service, services } = await createFixture();
// Without a kernel, what comes from the table of processes is refused before it is read.
services.catalog.lineage = null;
const read = new Set<string>();
const TRACKERS = services.catalog.trackers.map(({ name }) => name);

const snapshotNames = Object.keys(snapshotTypes) as SnapshotKind[];

const scalars: Readonly<Record<string, unknown>> = {
  Int: 1,
  Float: 0.5,
  Boolean: true,
  String: 'count',
  ID: 'a',
  UInt32: 1,
  UInt64: '1',
  Int64: '1',
  Duration: 60_000,
  DateTime: '2026-01-31T08:15:30Z',
  EventField: 'process.comm',
  JSON: {},
  Cursor: 'a',
};

/**
 * A value of a type as graphql-js would have coerced it; `path` leads through its fields to the one that is to be there
 * besides those that must.
 */
function sample(type: GraphQLInputType, path: readonly string[]): unknown {
  const nullable = getNullableType(type);
  if (isListType(nullable)) return [sample(nullable.ofType as GraphQLInputType, path)];
  if (isEnumType(nullable)) return nullable.getValues()[0]?.value;
  if (!isInputObjectType(nullable)) return scalars[getNamedType(nullable).name] ?? 'a';
  const [first = nullable.isOneOf ? Object.keys(nullable.getFields())[0] : undefined, ...rest] = path;
  const fields = Object.values(nullable.getFields()).filter(
    (field) => field.name === first || isRequiredInputField(field),
  );
  const entries = fields.map((field) => [field.name, sample(field.type, field.name === first ? rest : [])]);
  return watched(nullable, Object.fromEntries(entries) as object);
}

function watched(type: GraphQLInputObjectType, value: object): object {
  const note = (key: string | symbol): void => void read.add(`${type.name}.${String(key)}`);
  return new Proxy(value, { get: (target, key) => (note(key), Reflect.get(target, key) as unknown) });
}

/** The way to each field below a type, once for each type on the way. */
function paths(type: GraphQLInputObjectType, seen: readonly string[] = []): string[][] {
  if (seen.includes(type.name)) return [];
  return Object.values(type.getFields()).flatMap((field: GraphQLInputField) => {
    const inner = getNamedType(field.type);
    return [
      [field.name],
      ...(isInputObjectType(inner) ? paths(inner, [...seen, type.name]).map((path) => [field.name, ...path]) : []),
    ];
  });
}

function inputOf(name: string): GraphQLInputObjectType {
  const type = schema.getType(name);
  if (!isInputObjectType(type)) throw new Error(`the schema has no input ${name}`);
  return type;
}

/** What it is given may be wrong in itself: then it was read. */
async function tried(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch {
    // Refused, so it had no effect in silence.
  }
}

function resolver(map: object, type: string, field: string): (root: unknown, args: object, context: object) => unknown {
  return Reflect.get(Reflect.get(map, type) as object, field) as (
    root: unknown,
    args: object,
    context: object,
  ) => unknown;
}

const caller = callerOf('admin');
const context = { service, caller };
const readers: Readonly<Record<string, (value: unknown) => unknown>> = {
  StartSessionInput: (value) => {
    const input = value as StartSessionInput;
    pluginRequests(input.plugins);
    if (input.target?.containers) compileSelector(input.target.containers);
    sessionSpec(input, services.catalog, services.fields);
  },
  UpdateSessionInput: (value) => {
    const { catalog, fields: filters } = services;
    const running = sessionSpec({ trackers: [{ exec: {} }] }, catalog, filters);
    updatedSpec(running, value as UpdateSessionInput, { catalog, filters, passedMs: 0 });
  },
  EventFilter: (value) => filterOf(value, services.fields, TRACKERS),
  Measure: (value) => compileAggregate({ groupBy: [], measures: [value as never] }, services.catalog, TRACKERS),
  WindowInput: (value) => compileAggregate({ groupBy: [], window: value as never }, services.catalog, TRACKERS),
  HavingInput: (value) =>
    compileAggregate({ groupBy: ['process.comm'], having: [value as never] }, services.catalog, TRACKERS),
  OrderInput: (value) =>
    compileAggregate({ groupBy: ['process.comm'], orderBy: [value as never] }, services.catalog, TRACKERS),
  ...Object.fromEntries(
    snapshotNames.map((kind) => [
      `${snapshotTypes[kind].type}Filter`,
      (value: unknown) => service.snapshots.page(caller, kind, { where: value }),
    ]),
  ),
  ContainerFilter: (value) => service.facts.containers(caller, value as ContainerFilter),
  ReportInput: (value) => service.reports.compare(caller, value as ReportInput, {}),
  SavedContentInput: (value) => service.queries.save(caller, { name: 'q', content: value as SavedContentInput }),
  AlertFilter: (value) => service.alerts.counts(caller, { by: ['RULE'], where: value as AlertFilter, limit: 1 }),
  SilenceInput: (value) => service.alerts.silence(caller, value as SilenceInput),
  LoadPluginInput: (value) => resolver(pluginResolvers, 'Mutation', 'loadPlugin')(null, { input: value }, context),
  LoadRulesInput: (value) => service.rules.load(caller, value as LoadRulesInput),
  TestRulesInput: (value) => service.rules.test(caller, value as TestRulesInput),
  AdviseInput: (value) => service.advices.advise(caller, value as AdviseInput),
  VerifyAdviceInput: (value) => service.verifications.request(caller, value as VerifyAdviceInput),
};

describe('each field of each input', () => {
  it('is read by whoever takes the input', async () => {
    for (const [name, reader] of Object.entries(readers)) {
      const type = inputOf(name);
      for (const path of [[], ...paths(type)]) await tried(() => reader(sample(type, path)));
    }
    const all = Object.values(schema.getTypeMap())
      .filter(isInputObjectType)
      .flatMap((type) => Object.keys(type.getFields()).map((field) => `${type.name}.${field}`));
    expect(all.filter((field) => !read.has(field))).toEqual([]);
    expect(all.length).toBeGreaterThan(200);
  });
});
