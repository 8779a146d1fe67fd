import * as fc from 'fast-check';
import {
  coerceInputValue,
  getNullableType,
  GraphQLNonNull,
  isEnumType,
  isInputObjectType,
  isListType,
  type GraphQLInputObjectType,
  type GraphQLInputType,
} from 'graphql';
import { afterAll, describe, expect, it } from 'vitest';
import { EunomiaError } from '../../src/base/errors.js';
import { contractSchema } from '../../src/api/graphql/schema.js';
import type { StartSessionInput } from '../../src/generated/schema.js';
import { sessionSpec } from '../../src/service/input.js';
import type { SessionSpec } from '../../src/session/spec.js';
import { FilterFields } from '../../src/filter/index.js';
import { randomTree } from '../support/filter/tree.js';
import { toInput } from '../support/filter/written.js';
import { filterText } from '../support/filters.js';
import { createFixture, createServer, dataOf, post } from './support.js';

const schema = contractSchema();
const fixture = await createFixture();
const { catalog, fields } = fixture.services;
// Filters may name what only a table of processes has.
catalog.lineage = { of: () => null, ready: () => null, problem: null, sinceNs: 0n };
const server = await createServer(fixture.services);
afterAll(async () => {
  await fixture.services.manager.close();
  await server.close();
});

type Json = Readonly<Record<string, unknown>>;

const inputType = (name: string): GraphQLInputObjectType => {
  const type = schema.getType(name);
  if (isInputObjectType(type)) return type;
  throw new Error(`the schema has no input ${name}`);
};

const some = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | null> => fc.option(value, { freq: 4 });
const listOf = <Value>(value: fc.Arbitrary<Value>) => fc.uniqueArray(value, { minLength: 1, maxLength: 3 });
const durations = (least: number, most: number): fc.Arbitrary<string> =>
  fc.oneof(
    fc.integer({ min: least, max: most }).map((ms) => `${ms}ms`),
    fc.integer({ min: least * 1_000_000, max: most * 1_000_000 }).map((ns) => `${ns}ns`),
    fc.integer({ min: Math.ceil(least / 1000), max: most / 1000 }).map((s) => `${s}s`),
  );

/** Any value of an input type as a client would write it. */
function written(type: GraphQLInputType): fc.Arbitrary<unknown> {
  const inner = getNullableType(type) as GraphQLInputType;
  if (isListType(inner)) return listOf(written(inner.ofType as GraphQLInputType));
  if (isEnumType(inner)) return fc.constantFrom(...inner.getValues().map(({ name }) => name));
  if (!isInputObjectType(inner)) return scalars[String(inner)] ?? fc.constant('read');
  return fc.record(
    Object.fromEntries(Object.values(inner.getFields()).map((field) => [field.name, written(field.type)])),
    { requiredKeys: [] },
  );
}

const scalars: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  Boolean: fc.boolean(),
  Int: fc.integer({ min: 1, max: 1000 }),
  Duration: durations(100, 60_000),
  String: fc.constantFrom('read', 'openat', 'CAP_SYS_ADMIN'),
};

const trackerNames = catalog.trackers.map(({ name }) => name);
const trackers = fc.uniqueArray(fc.constantFrom(...trackerNames), { minLength: 1, maxLength: 3 }).chain((names) =>
  fc.tuple(
    ...names.map((name) => {
      const field = inputType('TrackerInput').getFields()[name];
      if (!field) throw new Error(`no options of ${name}`);
      return written(field.type).map((options) => ({ [name]: options as Json }));
    }),
  ),
);

const pools = {
  pids: [1, 4242],
  uids: [0, 1000],
  gids: [0],
  cgroups: ['1', '4242'],
  comms: ['nginx', 'we"ird\\', 'é'],
  paths: ['/etc/passwd', '/tmp/*'],
  addresses: ['127.0.0.1', '::1'],
  networks: ['10.0.0.0/8'],
  ports: [53, 443],
};
const objects: fc.Arbitrary<Json> = fc.constantFrom(
  { process: { comm: { in: ['sh', 'bash'] }, pid: { gte: 2 } } },
  { not: { tracker: { eq: 'exec' } } },
  { time: { gt: '2026-01-31T08:15:30Z' }, bootNs: { lt: '18446744073709551615' } },
  { or: [{ container: { isNull: true } }, { container: { name: { glob: 'web-*' } } }] },
);
/** The fields of events of these trackers. */
const fieldsOf = (names: readonly string[]): FilterFields =>
  new FilterFields(schema, {
    trackers: names.map((name) => catalog.need(name)),
    get: (name) => catalog.get(name),
    lineage: catalog.lineage,
  });
/** Of all that a filter can say: each field with each operator, two fields, ancestors. */
const anyFilterOf = (names: readonly string[]): fc.Arbitrary<Json> => {
  const own = fieldsOf(names);
  return randomTree(own).map((tree) => toInput(tree, own));
};
const filterOf = (names: readonly string[]): fc.Arbitrary<Json> =>
  fc.oneof(
    filterText(names, pools).map((expr): Json => ({ expr })),
    objects,
    anyFilterOf(names),
  );

const selectors = fc.oneof(
  fc.record(
    { name: fc.constantFrom('web-*', 'db?', '*'), image: some(fc.constant('nginx*')) },
    { requiredKeys: ['name'] },
  ),
  fc.record({ id: fc.constantFrom('abc123', 'lxc:web'), name: fc.constant(null) }),
  fc.record({
    labels: fc.constantFrom([{ name: 'tier' }], [{ name: 'tier', value: 'front' }], [{ name: 'a', value: null }]),
  }),
);
const targets: fc.Arbitrary<Json> = fc.oneof(
  fc.record(
    {
      containers: listOf(selectors),
      waitForContainers: fc.constant(true),
      cgroups: fc.constant(['4242']),
      uids: listOf(fc.constantFrom(0, 4_294_967_295)),
      comms: listOf(fc.constantFrom('nginx', 'a b', 'é')),
    },
    { requiredKeys: ['containers', 'waitForContainers'] },
  ),
  fc.record({ pids: fc.constant([process.pid]), descendants: fc.boolean() }),
  fc.constant({}),
);
const plugins = fc.constantFrom(
  null,
  [],
  [{ name: 'beacon', options: { least: 3, names: ['a'] }, restart: 'ON_FAILURE' }],
  [{ name: 'beacon' }, { name: 'other', options: null }],
);
/** All of a `StartSessionInput`. Sizes of rings are powers of two. */
const parts = (entries: readonly Json[], names: readonly string[]) => ({
  trackers: fc.constant(entries),
  target: some(targets),
  where: some(filterOf(names)),
  capture: fc.constantFrom('DEFAULT', 'DEMANDED', 'ALL'),
  fields: some(fc.constantFrom([], ['process.comm'])),
  for: some(durations(10, 3_600_000)),
  name: some(fc.constantFrom('a name', '"quoted" ü')),
  labels: some(fc.constantFrom([], [{ name: 'tier', value: "o'brien" }])),
  ttl: some(durations(1000, 3_600_000)),
  bufferBytes: fc.integer({ min: 65536, max: 1 << 30 }),
  ringBytes: fc.integer({ min: 16, max: 28 }).map((power) => 2 ** power),
  persist: some(fc.constantFrom({}, { store: 'INFLUX' }, { store: 'INFLUX', mode: 'EVENTS' })),
  plugins,
});
const inputs: fc.Arbitrary<Json> = trackers.chain((entries) => {
  const names = entries.flatMap((entry) => Object.keys(entry));
  return fc.record(parts(entries, names), { requiredKeys: ['trackers'] });
});

function specOf(input: unknown): SessionSpec {
  const coerced: unknown = coerceInputValue(input, new GraphQLNonNull(inputType('StartSessionInput')));
  return sessionSpec(coerced as StartSessionInput, catalog, fields);
}

/** All that decides what a session does; a filter by its canonical text, which stands for one filter. */
const does = ({ where, ...spec }: SessionSpec): unknown => ({ ...spec, where: where?.text ?? null });

const SPEC =
  'input limit trackers { name options } ' +
  'target { containers { name id image labels { name value } } waitForContainers cgroups pids descendants uids comms } ' +
  'where capture fields for ttl bufferBytes ringBytes persist { store mode } plugins { name options restart }';

interface Started {
  readonly id: string;
  readonly spec: Json & { readonly input: Json };
  readonly explain: { readonly where: string | null };
}

async function start(input: unknown): Promise<Started> {
  const query =
    'mutation ($input: StartSessionInput!) { startSession(input: $input) ' +
    `{ id spec { ${SPEC} } explain { where } } }`;
  const { json } = await post<{ startSession: Started }>(server.url, { query, variables: { input } });
  return dataOf(json).startSession;
}

describe('what a session was asked for', () => {
  it('is any input that the schema has', () => {
    const of = (name: string): string[] => Object.keys(inputType(name).getFields()).sort();
    expect(Object.keys(parts([], [])).sort()).toEqual(of('StartSessionInput'));
    expect([...new Set(fc.sample(targets, { numRuns: 1000, seed: 1 }).flatMap(Object.keys))].sort()).toEqual(
      of('TargetInput'),
    );
  });

  it('read back and asked for again, is the same session', () => {
    let refused = 0;
    fc.assert(
      fc.property(inputs, (input) => {
        let asked: SessionSpec;
        try {
          asked = specOf(input);
        } catch (error) {
          // Some options exclude each other.
          if (error instanceof EunomiaError && error.code === 'BAD_USER_INPUT') return void refused++;
          throw error;
        }
        const json = JSON.parse(JSON.stringify(asked.asked?.input)) as unknown;
        expect(does(specOf(json))).toEqual(does(asked));
      }),
      { numRuns: 500 },
    );
    expect(refused).toBeLessThan(250);
  });

  it('is told by the session, with all defaults, and starts another that tells the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        inputs.map(({ persist: _persist, plugins: _plugins, ...input }) => input),
        async (input) => {
          try {
            specOf(input);
          } catch {
            return; // some options exclude each other
          }
          const first = await start(input);
          const second = await start(first.spec.input);
          await Promise.all([first, second].map(({ id }) => fixture.services.manager.remove(id)));
          expect(second.spec).toEqual(first.spec);
          expect(second.explain).toEqual(first.explain);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('has each part of it with its type', async () => {
    const { spec, explain } = await start({
      trackers: [{ exec: { failed: false } }, { capability: { every: '2500ms', capabilities: ['CAP_SYS_ADMIN'] } }],
      target: {
        containers: [{ name: 'web-*', labels: [{ name: 'tier' }] }],
        waitForContainers: true,
        cgroups: ['4242'],
      },
      where: { process: { uid: { eq: 0 } } },
      for: '90s',
    });
    expect(spec).toMatchObject({
      limit: null,
      trackers: [
        { name: 'exec', options: { failed: false } },
        { name: 'capability', options: { every: '2500ms', capabilities: ['CAP_SYS_ADMIN'], deniedOnly: false } },
      ],
      target: {
        containers: [{ name: 'web-*', id: null, image: null, labels: [{ name: 'tier', value: null }] }],
        waitForContainers: true,
        cgroups: ['4242'],
        pids: null,
        descendants: true,
        uids: null,
        comms: null,
      },
      where: { process: { uid: { eq: 0 } } },
      capture: 'DEFAULT',
      fields: [],
      for: '90s',
      ttl: null,
      bufferBytes: 33_554_432,
      ringBytes: 16_777_216,
      persist: null,
      plugins: [],
    });
    expect(explain.where).toBe('process.uid == 0');
  });

  it('of a trace is what it really had', async () => {
    const { json } = await post<{ trace: Started }>(server.url, {
      query:
        'mutation { trace(input: { trackers: [{ exec: {} }] }, for: "10ms", limit: 7) ' +
        '{ spec { for ttl limit capture fields } events { nodes { ... on ExecEvent { args } } } } }',
    });
    expect(dataOf(json).trace.spec).toEqual({
      for: '10ms',
      ttl: '1m',
      limit: 7,
      capture: 'DEMANDED',
      fields: ['args'],
    });
  });
});
