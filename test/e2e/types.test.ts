import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  getNamedType,
  getNullableType,
  isEnumType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
  isRequiredArgument,
  type GraphQLNamedType,
  type GraphQLOutputType,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { isOfGraph } from '../../src/event/data-field.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';

/** Every field of the schema that needs no argument, over real data: each value is what its type says. */
const schema = contractSchema();
const run = promisify(execFile);
const DECIMAL = /^(0|-?[1-9]\d*)$/;
/** Measured amounts that are told to a thousandth, and bounds of buckets, which are whole for the fields measured here. */
const MEASURED = /^(lagMs|busyMs|uptimeSeconds|eventsPerSecond|retentionMs)$/;

const checks: Readonly<Record<string, (value: unknown, field: string) => boolean>> = {
  Int: (value) => Number.isInteger(value) && Math.abs(Number(value)) < 2 ** 31 + 1,
  UInt32: (value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** 32,
  UInt64: (value) =>
    typeof value === 'string' && DECIMAL.test(value) && BigInt.asUintN(64, BigInt(value)) === BigInt(value),
  Int64: (value) =>
    typeof value === 'string' && DECIMAL.test(value) && BigInt.asIntN(64, BigInt(value)) === BigInt(value),
  Float: (value, field) =>
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (!MEASURED.test(field) || /^\d+(\.\d{1,3})?$/.test(String(value))),
  Boolean: (value) => typeof value === 'boolean',
  String: (value) => typeof value === 'string',
  ID: (value) => typeof value === 'string' && value !== '',
  DateTime: (value) =>
    typeof value === 'string' &&
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/.test(value) &&
    !Number.isNaN(Date.parse(value)),
  Duration: (value) => typeof value === 'string' && /^\d+(ns|us|ms|s|m|h)$/.test(value),
  Errno: (value) => typeof value === 'string' && /^(E[A-Z0-9]+|\d+)$/.test(value),
  Cursor: (value) => typeof value === 'string' && value !== '',
  EventField: (value) => typeof value === 'string' && value !== '',
  JSON: () => true,
};

/** All fields without a required argument, down to objects that contain themselves. `only`: of an interface, this type. */
function selectionOf(type: GraphQLNamedType, only: string, above: readonly string[] = []): string {
  if (!isObjectType(type) && !isInterfaceType(type)) return '';
  const fields = Object.values(type.getFields()).flatMap((field) => {
    const inner = getNamedType(field.type);
    if (field.args.some(isRequiredArgument) || above.includes(inner.name) || above.length > 4) return [];
    const composite = isObjectType(inner) || isInterfaceType(inner);
    // Sessions, and pages of other things, are asked for by themselves.
    if (inner.name === 'Session') return [`${field.name} { __typename id }`];
    if (composite && above.length > 0 && inner.name.endsWith('Connection')) return [];
    const few = isListType(getNullableType(field.type)) && field.args.some(({ name }) => name === 'first');
    const name = few ? `${field.name}(first: 2)` : field.name;
    // Where it leads from one object to others is followed by one step.
    if (composite && isOfGraph(type.name, field.name))
      return above.some((one) => one === 'Process' || one === 'Container') ? [] : [`${name} ${leavesOf(inner)}`];
    const below = selectionOf(inner, only, [...above, type.name]);
    return composite ? (below ? [`${name} ${below}`] : []) : [name];
  });
  const fragment = isInterfaceType(type)
    ? ` ... on ${only} ${selectionOf(schema.getType(only) ?? type, only, [...above, type.name])}`
    : '';
  return fields.length ? `{ __typename ${fields.join(' ')}${fragment} }` : '';
}

function leavesOf(type: GraphQLNamedType): string {
  if (!isObjectType(type)) throw new Error(`${type.name} is no object`);
  const leaves = Object.values(type.getFields()).filter(
    (field) => isLeafType(getNamedType(field.type)) && !field.args.some(isRequiredArgument),
  );
  return `{ __typename ${leaves.map(({ name }) => name).join(' ')} }`;
}

let checked = new Map<string, number>();

function check(value: unknown, type: GraphQLOutputType, path: string): void {
  if (isNonNullType(type)) {
    expect([path, value]).not.toEqual([path, null]);
    return check(value, type.ofType, path);
  }
  if (value === null) return;
  if (isListType(type)) {
    expect([path, Array.isArray(value)]).toEqual([path, true]);
    (value as readonly unknown[]).forEach((item, i) => check(item, type.ofType, `${path}[${i}]`));
    return;
  }
  const field = path.split('.').at(-1) ?? '';
  if (isScalarType(type)) {
    checked.set(type.name, (checked.get(type.name) ?? 0) + 1);
    expect(Object.keys(checks)).toContain(type.name);
    expect([path, type.name, value, checks[type.name]?.(value, field)]).toEqual([path, type.name, value, true]);
  } else if (isEnumType(type)) expect(type.getValues().map(({ name }) => name)).toContain(value);
  else {
    const object = value as Readonly<Record<string, unknown>>;
    const actual = schema.getType(String(object['__typename']));
    if (!isObjectType(actual)) throw new Error(`${path} has no type: ${JSON.stringify(value).slice(0, 200)}`);
    for (const [name, inner] of Object.entries(object)) {
      const of = actual.getFields()[name];
      if (of) check(inner, of.type, `${path}.${name}`);
    }
  }
}

let server: TestServer;
let folder: string;
let live: string;
let stored: string;
const TRACKERS = ['exec', 'exit', 'open', 'tcp', 'syscall', 'syscount'];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-types-'));
  server = await startServer(['--engine', 'none', '--data-dir', folder], { keep: true });
  const input =
    `{ trackers: [${TRACKERS.map((name) => `{ ${name}: {} }`).join(', ')}], capture: ALL, target: { pids: ` +
    `[${process.pid}] }, persist: { store: EMBEDDED } }`;
  stored = await startSession(server, input);
  live = await startSession(server, input);
  const work = 'cat /etc/passwd /no/such > /dev/null; exec 3<>/dev/tcp/127.0.0.1/1; kill -9 $$';
  for (let i = 0; i < 5; i++) await run('bash', ['-c', work]).catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await stopSession(server, stored);
});

afterAll(async () => {
  await server.end('SIGTERM');
  rmSync(folder, { recursive: true });
});

async function ask(root: string, args: string, only = 'ExecEvent'): Promise<unknown> {
  const field = schema.getQueryType()?.getFields()[root];
  if (!field) throw new Error(`no field ${root}`);
  const data = await server.query<Record<string, unknown>>(
    `{ ${root}${args} ${selectionOf(getNamedType(field.type), only)} }`,
  );
  check(data[root], field.type, root);
  return data[root];
}

describe('each value is of the type that the schema declares', () => {
  it.each([
    ['server', ''],
    ['trackers', ''],
    ['stores', ''],
    ['plugins', ''],
    ['containers', ''],
    ['history', ''],
  ])('of the query %s', async (root, args) => {
    checked = new Map();
    await ask(root, args);
    if (root === 'stores') expect(checked.get('UInt64')).toBeGreaterThan(0);
  });

  it.each(['live', 'stored'])('of a %s session, its report and its plan', async (which) => {
    checked = new Map();
    await ask('session', `(id: "${which === 'live' ? live : stored}")`);
    expect(checked.get('UInt64')).toBeGreaterThan(10);
  });

  it.each(TRACKERS.flatMap((tracker) => ['live', 'stored'].map((which) => [tracker, which] as const)))(
    'of events of %s, %s',
    async (tracker, which) => {
      const name = `${tracker.charAt(0).toUpperCase()}${tracker.slice(1)}Event`;
      const event = schema.getType('TraceEvent');
      if (!isInterfaceType(event)) throw new Error('no TraceEvent');
      const where =
        which === 'live'
          ? `session(id: "${live}") { __typename`
          : `history(sessions: ["${stored}"], trackers: ["${tracker}"]) { __typename`;
      const data = await server.query<Record<string, { events: { nodes: unknown[] } }>>(
        (
          `{ ${where} events(first: 200, ` +
          `${which === 'live' ? `where: { expr: "tracker == \\"${tracker}\\"" }` : ''}) { nodes ` +
          `${selectionOf(event, name)} } } }`
        ).replace(', )', ')'),
      );
      const nodes = Object.values(data)[0]?.events.nodes ?? [];
      expect(nodes.length).toBeGreaterThan(0);
      nodes.forEach((node, i) => check(node, event, `${tracker}[${i}]`));
    },
  );

  it.each(['live', 'stored'])('of aggregates with every measure, %s', async (which) => {
    const row = schema.getType('AggregateRow');
    const measure = schema.getType('MeasureFunction');
    if (!row || !isObjectType(row) || !isEnumType(measure)) throw new Error('no AggregateRow');
    const extra: Readonly<Record<string, string>> = { QUANTILE: ', q: 0.5', TOP_K: ', k: 3' };
    const measures = measure
      .getValues()
      .map(
        ({ name }) =>
          `{ fn: ${name}, field: "${which === 'live' ? 'process.pid' : 'durationNs'}", name: "${name}"${extra[name] ?? ''} }`,
      );
    const where = which === 'live' ? `session(id: "${live}")` : `history(sessions: ["${stored}"], trackers: ["tcp"])`;
    const filter = which === 'live' ? 'where: { expr: "tracker == \\"tcp\\"" }, ' : '';
    const data = await server.query<Record<string, { aggregate: unknown[] }>>(
      `{ ${where} { aggregate(${filter}groupBy: ["process.comm"], measures: [${measures.join(', ')}], window: { ` +
        `size: "10s" }) ${selectionOf(row, 'ExecEvent')} } }`,
    );
    const rows = Object.values(data)[0]?.aggregate ?? [];
    expect(rows.length).toBeGreaterThan(0);
    rows.forEach((each, i) => check(each, row, `aggregate[${i}]`));
  });
});
