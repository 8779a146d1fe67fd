import {
  buildSchema,
  executeSync,
  validateSchema,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  parse,
  validate,
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLOutputType,
} from 'graphql';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { kinds } from '../btf/kind.js';
import type { RecordField } from '../btf/layout.js';
import { root } from '../base/paths.js';
import { dataFields } from '../event/data-field.js';
import type { TraceEvent } from '../event/event.js';
import { sectionsOf, type SectionName } from '../event/report-feed.js';
import { eventTypeName, snakeCase } from '../base/names.js';
import { DetailsTemplate } from '../event/details.js';
import { createRuntime, type TrackerRuntime } from '../record/runtime.js';
import { Catalog } from './catalog.js';
import { loadTrackers } from './load.js';
import { eventOf, objectFile } from '../../test/support/record.js';

const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));
const runtimes = (await loadTrackers()).map(createRuntime);
const catalog = new Catalog(
  schema,
  runtimes.map(({ definition }) => definition),
  () => false,
);
const common = schema.getType('TraceEvent');
/** What all events have, and no record; its identity is of where it lies, not of it. */
const identity = ['cursor', 'id', 'session', 'values'];
const enriched = isInterfaceType(common)
  ? Object.keys(common.getFields()).filter((name) => !identity.includes(name))
  : [];

function eventType(name: string): GraphQLObjectType {
  const type = schema.getType(eventTypeName(name));
  if (!isObjectType(type)) throw new Error(`schema.graphql has no type ${eventTypeName(name)}`);
  return type;
}

const isList = (type: GraphQLOutputType): boolean => isListType(isNonNullType(type) ? type.ofType : type);

/** An event whose record has nothing in it. An enum is never 0 in a record: its first value is what an empty one would have. */
function emptyEvent({ definition, layout }: TrackerRuntime): TraceEvent {
  const enums = [...layout.fields.values()]
    .filter((field) => field.kind === 'enum')
    .map((field) => [field.name, Math.min(...field.values.keys())]);
  return eventOf(definition, Object.fromEntries(enums));
}

function checkPlain(field: GraphQLField<unknown, unknown>, record: RecordField, captured: boolean): void {
  const type = getNamedType(field.type);
  if (record.kind === 'enum') {
    expect(
      isEnumType(type) &&
        type
          .getValues()
          .map((v) => v.name)
          .sort(),
    ).toEqual([...record.values.values()].sort());
    return;
  }
  const kind = kinds[record.kind];
  expect(kind.scalars).toContain(type.name);
  expect(isList(field.type)).toBe(kind.list ?? false);
  if (captured || kind.nullable) expect(isNonNullType(field.type)).toBe(false);
}

it('the contract is a valid schema, which the server takes for granted', () => {
  expect(validateSchema(schema)).toEqual([]);
});

it('a field that can fail may be null, so that it takes none of the others along', () => {
  const found = Object.values(schema.getTypeMap())
    .filter((type): type is GraphQLObjectType => isObjectType(type) && !/^__|^Subscription$/.test(type.name))
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter(({ args }) => args.length > 0 || /^(Query|Mutation)$/.test(type.name))
        .filter((field) => isNonNullType(field.type))
        .map(({ name }) => `${type.name}.${name}`),
    );
  // What they need is in memory. The fields that `values` names are checked before the operation begins.
  expect(found.filter((name) => !name.endsWith('Event.values'))).toEqual([
    'Query.server',
    'Query.trackers',
    'Query.plugins',
  ]);
});

it('there is a tracker for each field of TrackerInput, and none besides', () => {
  const input = schema.getType('TrackerInput');
  expect(isInputObjectType(input) && Object.keys(input.getFields()).sort()).toEqual(
    runtimes.map((r) => r.definition.name).sort(),
  );
  expect(enriched.sort()).toEqual(['bootNs', 'cgroupId', 'container', 'process', 'time', 'tracker']);
});

it('fields of one name take the same names in all events: a filter for several trackers holds for fewer, too', () => {
  const firsts = new Map<string, { readonly of: string | null; readonly where: string }>();
  for (const { name, names, fields } of catalog.trackers)
    for (const { path } of fields) {
      const here = { of: names[path]?.of ?? null, where: `${name}.${path}` };
      const first = firsts.get(path) ?? here;
      firsts.set(path, first);
      expect({ ...here, of: first.of }).toEqual(here);
    }
});

it('one query can ask all trackers for all fields, and gets them', () => {
  const selection = (of: GraphQLOutputType): string => {
    const named = getNamedType(of);
    if (!isObjectType(named)) return '';
    return ` { ${dataFields(named)
      .filter(({ args }) => args.length === 0)
      .map((field) => field.name + selection(field.type))
      .join(' ')} }`;
  };
  const events = runtimes.map(emptyEvent);
  const parts = runtimes.map(
    ({ definition: { name } }) => `... on ${eventTypeName(name)}${selection(eventType(name))}`,
  );
  const document = parse(`{ node(id: "x") { __typename ${parts.join(' ')} } }`);
  expect(validate(schema, document)).toEqual([]);
  for (const event of events) {
    const { errors, data } = executeSync({ schema, document, rootValue: { node: event } });
    expect(errors).toBeUndefined();
    const own = dataFields(eventType(event.tracker)).map(({ name }) => name);
    expect(Object.keys(data?.node ?? {}).sort()).toEqual(['__typename', ...own].sort());
  }
});

it('a name that a field had is no name of another one', () => {
  for (const { name, formerNames } of catalog.trackers)
    for (const [now, then] of Object.entries(formerNames)) {
      expect(Object.keys(eventType(name).getFields())).toContain(now);
      expect(Object.keys(eventType(name).getFields())).not.toContain(then);
    }
});

it('each section of a report is fed by a tracker, and by one that nothing supersedes', () => {
  const fed = catalog.trackers
    .filter(({ supersededBy }) => !supersededBy.length)
    .flatMap((each) => each.reportSections);
  expect([...new Set(fed)].sort()).toEqual(
    Object.values(sectionsOf)
      .flatMap((names): readonly SectionName[] => names)
      .sort(),
  );
});

describe.each(runtimes.map((runtime) => [runtime.definition.name, runtime] as const))(
  'the contract of %s',
  (name, runtime) => {
    const type = eventType(name);
    const own = dataFields(type).filter((field) => !enriched.includes(field.name));
    const computed = runtime.definition.fields ?? {};
    const { layout } = runtime;

    it.each(own.map((field) => [field.name, field] as const))('has a source for its field %s', (fieldName, field) => {
      const definition = computed[fieldName];
      if (definition) {
        for (const from of definition.from) expect([...layout.fields.keys()]).toContain(from);
        return;
      }
      const record = layout.fields.get(fieldName);
      if (!record)
        throw new Error(
          `${eventTypeName(name)}.${fieldName} has no source: neither a member ${snakeCase(fieldName)} of struct ` +
            `${snakeCase(name)}_event, nor \`fields\` of src/trackers/${snakeCase(name)}.ts`,
        );
      checkPlain(field, record, layout.captures.has(fieldName));
    });

    it('shows every member of its record, by itself or through another field', () => {
      const used = new Set([
        ...own.map((field) => field.name),
        ...Object.values(computed).flatMap((definition) => definition.from),
      ]);
      expect([...layout.fields.keys()].filter((member) => member !== 'reserved' && !used.has(member))).toEqual([]);
    });

    it('computes no field that the schema does not have', () => {
      expect(Object.keys(computed).filter((field) => !(field in type.getFields()))).toEqual([]);
    });

    it('captures only what is in its record, and says of such a field that it may be null', () => {
      for (const field of runtime.onDemand) {
        const shown = type.getFields()[field];
        if (!shown) throw new Error(`${field} is captured, but not in the schema`);
        expect(isNonNullType(shown.type)).toBe(false);
        expect(shown.description).toMatch(/captured/);
      }
    });

    it('has an identity, which is no data', () => {
      expect(Object.keys(type.getFields())).toEqual(expect.arrayContaining(identity));
    });

    it('has values for all that the schema calls non-null, also in an empty record', () => {
      const event = emptyEvent(runtime);
      for (const field of enriched) expect(field in event).toBe(true);
      for (const field of own)
        if (isNonNullType(field.type)) expect(Reflect.get(event, field.name) ?? null).not.toBeNull();
    });

    it('describes each field, and each option with the constant behind it', () => {
      for (const field of own) expect(field.description ?? '').not.toBe('');
      const input = schema.getType('TrackerInput');
      const options = isInputObjectType(input) && getNamedType(input.getFields()[name]?.type ?? type);
      if (!isInputObjectType(options)) throw new Error(`${name} has no options`);
      for (const option of Object.values(options.getFields())) expect(option.description ?? '').not.toBe('');
      // What an option becomes is a constant of the object: that of its name, or what the definition makes of it.
      const { variables } = objectFile(snakeCase(name));
      const constants = runtime.definition.constants
        ? Object.keys(runtime.definition.constants({}))
        : Object.keys(options.getFields()).map(snakeCase);
      for (const constant of constants) expect(variables.get(constant)).toMatchObject({ section: '.rodata' });
    });

    it('attaches on demand only programs that it has, for a field that is captured on demand', () => {
      const { programs } = objectFile(snakeCase(name));
      for (const [program, field] of Object.entries(runtime.definition.demanded ?? {})) {
        expect([...programs.keys()]).toContain(program);
        expect(runtime.onDemand).toContain(field);
      }
    });

    it('says of each program on system calls which calls it looks at', () => {
      const on = (hook: string) =>
        [...objectFile(snakeCase(name)).programs].filter(([, section]) => section === hook).map(([program]) => program);
      const { atCallEntry = {}, atCallExit = {} } = runtime.definition;
      expect(Object.keys(atCallEntry).sort()).toEqual(on('tp_btf/sys_enter').sort());
      expect(Object.keys(atCallExit).sort()).toEqual(on('tp_btf/sys_exit').sort());
      for (const { slots } of Object.values(runtime.objectSpec({}).calls ?? {})) {
        if (!slots) continue;
        expect(slots.length).toBeGreaterThan(0);
        expect(new Set(slots).size).toBe(slots.length);
      }
      // Such a program is placed before others, and goes on to them.
      const source = readFileSync(join(root, `bpf/trackers/${snakeCase(name)}.bpf.c`), 'utf8');
      const going = [...source.matchAll(/^EU_EACH_CALL\(\w+, (\w+),/gm)].map(([, program]) => program);
      const each = Object.entries({ ...atCallEntry, ...atCallExit }).filter(([, calls]) => calls === 'each');
      expect(each.map(([program]) => program).sort()).toEqual(going.sort());
    });

    it('aggregates in maps of its record, if at all, and says so of its fields', () => {
      const { kernelAggregate } = runtime.definition;
      expect(objectFile(snakeCase(name)).types.some((t) => t.kind === 'struct' && t.name === 'eu_aggregate_key')).toBe(
        kernelAggregate !== undefined,
      );
      for (const [field, histogram] of Object.entries(kernelAggregate?.totals ?? {})) {
        expect(layout.fields.get(field)?.kind).toBe('eu_total');
        if (histogram !== null) expect(layout.fields.get(histogram)?.kind).toBe('eu_log2');
      }
      if (kernelAggregate) expect(Object.keys(kernelAggregate.totals)).toContain(kernelAggregate.count);
      for (const [field, values] of Object.entries(kernelAggregate?.values ?? {})) {
        expect(kernelAggregate?.totals).toMatchObject({ [field]: null, [values]: null });
      }
    });

    it('tells an event in one line, of fields that it has', () => {
      expect(runtime.definition.details).toBeDefined();
      const paths = catalog.need(name).fields.map(({ path }) => path);
      expect(paths).toEqual(expect.arrayContaining([...new DetailsTemplate(runtime.definition.details ?? '').fields]));
    });

    it('names columns and indexed fields that its events have', () => {
      const tracker = catalog.need(name);
      const paths = tracker.fields.map(({ path }) => path);
      expect(paths).toEqual(expect.arrayContaining([...tracker.columns, ...tracker.indexed]));
      expect(tracker.columns.length).toBeGreaterThan(0);
    });

    it('feeds reports from fields that its events have, by options that it has', () => {
      const feed = runtime.definition.report;
      if (!feed) return;
      const { demand = [], restricting = [], extending = [], neutral = [], supersededBy = [] } = feed;
      const { options } = catalog.need(name);
      expect(runtime.onDemand).toEqual(expect.arrayContaining([...demand]));
      expect(options.map((option) => option.name)).toEqual(
        expect.arrayContaining([...restricting.map(({ option }) => option), ...extending, ...neutral]),
      );
      const told = [...restricting.map(({ option }) => option), ...extending, ...neutral, 'every'];
      expect(options.map((option) => option.name).filter((option) => !told.includes(option))).toEqual([]);
      for (const { sections = [], says } of restricting) {
        expect(sectionsOf[feed.feeds]).toEqual(expect.arrayContaining([...sections]));
        expect(says).toMatch(/^[a-z].* excluded$/);
      }
      for (const other of supersededBy) expect(catalog.need(other).report?.feeds).toBe(feed.feeds);
    });

    it('demands for reports each on-demand field that they read', () => {
      const { report = null } = runtime.definition;
      const read = new Set<string>();
      // One that succeeded and one that failed: other fields may be read of each.
      for (const errno of [null, 'ENOENT']) {
        const event = new Proxy(emptyEvent(runtime), {
          get: (target, field) => {
            read.add(String(field));
            return field === 'errno' ? errno : Reflect.get(target, field);
          },
        });
        report?.read(event);
      }
      expect(Object.keys(type.getFields())).toEqual(expect.arrayContaining([...read]));
      expect([...read].filter((field) => runtime.onDemand.includes(field)).sort()).toEqual(
        [...(report?.demand ?? [])].sort(),
      );
    });

    it('has program names that the kernel does not cut', () => {
      expect(runtime.hooks.length).toBeGreaterThan(0);
      for (const hook of runtime.hooks) expect(hook).toMatch(/^[a-z_]+\/\w+$/);
      for (const program of objectFile(snakeCase(name)).programs.keys()) expect(program.length).toBeLessThanOrEqual(15);
    });
  },
);
