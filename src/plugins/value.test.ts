import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { root } from '../base/paths.js';
import type { RecordLayout } from '../btf/layout.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import type { TraceEvent } from '../event/event.js';
import { FilterFields } from '../filter/index.js';
import { EventRecorder, Reviver } from '../formats/index.js';
import { createContainer } from '../inventory/container.js';
import { placeAt } from '../record/place.js';
import type { TrackerDefinition } from '../tracker/define.js';
import { extension, hello, sized } from '../../test/support/client-hello.js';
import { A, encodeQuery, encodeResponse } from '../../test/support/dns-message.js';
import { layoutOf, eventOf, type Values } from '../../test/support/record.js';
import { checkDefinition } from './definition.js';
import type { Realm } from './realm.js';
import { Outbox } from './outbox.js';
import type { CallOutcome, RealmKind } from './protocol.js';
import { SandboxRealm } from './sandbox.js';
import { defaultLimits } from './thread.js';
import { TrustedRealm } from './trusted.js';

/** What the types that plugins are written against say of their values, against the values that plugins get. */

const schema = contractSchema();
const trackers = await loadTrackers();
const catalog = new Catalog(schema, trackers, () => false);
const vocabulary = { catalog, fields: new FilterFields(schema, catalog) };
const names = trackers.map(({ name }) => name);

const typesOf = (file: string): string => readFileSync(join(root, file), 'utf8').replaceAll(/\/\*\*.*?\*\//gs, '');
const generated = typesOf('src/generated/plugin-event.ts');
const enums = new Set([...generated.matchAll(/^export type (\w+) = '/gm)].map(([, name]) => name));

/** The members of an interface or of a member of one: [name, type] each, "| null" left out. */
function membersOf(text: string, head: string, indent: string): [string, string][] {
  const [, body] = new RegExp(`^${head} \\{\\n(.*?)^${indent.slice(2)}\\}`, 'ms').exec(text) ?? [];
  if (body === undefined) throw new Error(`there is no "${head}"`);
  return [...body.matchAll(new RegExp(`^${indent}readonly (\\w+): (.*);$`, 'gm'))].map(([, name = '', type = '']) => {
    const plain = type.replace(/ \| null$/, '').replace(/^readonly /, '');
    return [name, enums.has(plain) ? 'string' : plain];
  });
}

/** Path of a value → its type. */
function typedPaths(tracker: string): ReadonlyMap<string, string> {
  const group = (name: string, type: string): [string, string][] =>
    membersOf(generated, `export interface ${type}`, '  ').map(([inner, of]) => [`${name}.${inner}`, of]);
  return new Map(
    membersOf(generated, `  readonly ${tracker}:`, '    ').flatMap(([name, type]) =>
      type === 'PluginProcess' || type === 'PluginContainer' ? group(name, type) : [[name, type]],
    ),
  );
}

const container = {
  ...createContainer('c'.repeat(64), 'docker'),
  name: 'web',
  image: 'nginx',
  imageId: 'sha256:1',
  labels: { tier: 'x' },
  composeProject: 'p',
  composeService: 's',
  podUid: 'u',
  createdAt: '2026-01-31T08:15:30.000000000Z',
  startedAt: '2026-01-31T08:15:30.000000000Z',
  finishedAt: '2026-01-31T08:15:30.000000000Z',
  pid: 7,
  privileged: false,
  ips: ['10.0.0.1'],
  cgroupId: 4242,
};

/** What `eu_bytes` are decoded from, by tracker. */
const BYTES: Readonly<Record<string, Buffer>> = {
  ipc: Buffer.of(2, 0, 0xff, 0xff, 0, 0x10), // struct sembuf
  dns: encodeResponse(encodeQuery(1, 'a.example'), [{ type: A, data: Buffer.of(192, 0, 2, 1) }]),
  packet: Buffer.of(0x45, 0),
  sni: hello([0x1301], extension(16, sized(Buffer.from('\x02h2')))),
};
const bytesOf = (tracker: string) => BYTES[tracker] ?? Buffer.alloc(0);

/** Values for all fields of a record, with these for its enums, its errno and its numbers. */
function filled(layout: RecordLayout, choice: number, errno: number, number: number): Values {
  const values: Record<string, Values[string]> = {};
  for (const { name, kind, size, values: known } of [...layout.header.values(), ...layout.fields.values()]) {
    const codes = [...known.keys()].filter((code) => code !== 0);
    if (name === 'tracker') values[name] = 0;
    else if (kind === 'eu_str' || kind === 'eu_strs' || kind === 'eu_stack') values[name] = (1 << 16) | layout.size;
    else if (kind === 'eu_bytes') values[name] = (bytesOf(layout.tracker).length << 16) | (layout.size + 1);
    else if (kind === 'enum') values[name] = codes[choice % codes.length] ?? 0;
    else if (kind === 'eu_errno') values[name] = errno;
    else if (kind === 'chars') values[name] = Buffer.from('a');
    else if (size > 8) values[name] = new Uint8Array(size).fill(1);
    // What a call changes shows as a difference.
    else values[name] = kind === 'bool' ? 1 : name.endsWith('After') ? number + 1 : number;
  }
  return values;
}

/**
 * A number of a record can be a signal, flags or a mode: 0x7f has most flags, the others make a device, a propagation and a
 * command of ptrace.
 */
const NUMBERS = [1, 2, 0x7f, 0x2000, 1 << 20, 2 ** 32 + 16];

/** Events in which each field has a value at least once. */
function someEvents(definition: TrackerDefinition): TraceEvent[] {
  const layout = layoutOf(definition.name);
  const texts = Buffer.concat([Buffer.from('a'), bytesOf(definition.name)]);
  const choices = Math.max(1, ...[...layout.fields.values()].map((field) => field.values.size));
  return Array.from({ length: choices }, (_, choice) => choice).flatMap((choice) =>
    [0, -2].flatMap((errno) =>
      NUMBERS.map((number) =>
        eventOf(definition, filled(layout, choice, errno, number), texts, undefined, () => container),
      ),
    ),
  );
}

/** A plugin that tells the types of all values that it was given. */
function source(): string {
  const reads = new Map(
    [...typed].map(([tracker, types]) => [tracker, new Set([...types.keys()].map((path) => path.replace(/\..*/, '')))]),
  );
  return `
    const paths = ${JSON.stringify(Object.fromEntries([...typed].map(([name, types]) => [name, [...types.keys()]])))};
    const isBucket = (item) => typeof item === 'object' && typeof item.from === 'number' && typeof item.count === 'string' && 'to' in item;
    const elementOf = (list) => (list.every(isBucket) ? 'PluginHistogramBucket' : typeof list[0]);
    const nameOf = (value) => (value === null || value.length === 0 ? null : Array.isArray(value) ? elementOf(value) + '[]' : typeof value);
    const seen = {};
    exports.default = { name: 'p', version: '1', summary: 's',
      reads: ${JSON.stringify(Object.fromEntries([...reads].map(([name, roots]) => [name, [...roots]])))},
      onBatch(events) {
        for (const event of events) {
          for (const path of paths[event.tracker]) {
            const [name, inner] = path.split('.');
            const type = nameOf(inner === undefined ? event[name] : event[name][inner]);
            const types = (seen[event.tracker + '.' + path] ??= []);
            if (type !== null && !types.includes(type)) types.push(type);
          }
        }
      },
      onStop(context) { context.emit('types', seen); } };`;
}

/** Path → the types of its values, but null, that a plugin gets. */
async function typesGiven(kind: RealmKind, events: readonly TraceEvent[], strict: boolean): Promise<unknown> {
  const { results } = await saidBy(kind, source(), events, strict);
  return JSON.parse(results[0]?.json ?? 'null');
}

async function saidBy(
  kind: RealmKind,
  code: string,
  events: readonly TraceEvent[],
  strict: boolean,
): Promise<Pick<CallOutcome, 'results'>> {
  const spec = { file: 'p.js', code, realm: kind, limits: defaultLimits[kind], strict };
  const realm: Realm = kind === 'TRUSTED' ? new TrustedRealm(spec) : await SandboxRealm.create(spec);
  const outbox = new Outbox({}, 's');
  const facts = checkDefinition(realm.definition, spec.file, vocabulary);
  expect(realm.start(facts, {}, { id: 's', name: null }, outbox)).toBeNull();
  expect(realm.batch(events, null)).toBeNull();
  expect(realm.stop()).toBeNull();
  return outbox.take();
}

const typed = new Map(names.map((name) => [name, typedPaths(name)]));
const expected = Object.fromEntries(
  [...typed].flatMap(([name, types]) =>
    [...types].map(([path, type]) => [`${name}.${path}`, [type.startsWith('Readonly<Record') ? 'object' : type]]),
  ),
);
const live = trackers.flatMap(someEvents);
const recorder = new EventRecorder(schema, names, null);
const reviver = new Reviver(schema, trackers);
const recorded = live.map((event) => reviver.event(recorder.record(event)));

it.each<[RealmKind, boolean]>([
  ['TRUSTED', false],
  ['SANDBOX', false],
  ['TRUSTED', true],
  ['SANDBOX', true],
])('an event has its id, and a result leads to it: %s, of a test: %s', async (kind, strict) => {
  const [tracker] = trackers;
  const events = tracker ? someEvents(tracker) : [];
  events.forEach((event, i) => placeAt(event, { session: 's', seq: 10 + i }));
  const code = `exports.default = { name: 'ids', version: '1', summary: 'x', reads: { ${tracker?.name}: ['bootNs'] },
    onBatch(events, context) { context.emit('ids', { ids: events.map(({ id }) => id) }, { event: events[1] }); } };`;
  const { results } = await saidBy(kind, code, events, strict);
  const ids = events.map((_, i) => `event:s:${10 + i}`);
  expect(results).toEqual([{ kind: 'ids', json: JSON.stringify({ ids }), place: 11 }]);
});

describe('the types that a plugin is written against', () => {
  it('have each value that it can read, and no other', () => {
    for (const { name, fields } of catalog.trackers) {
      const paths = fields.map(({ path }) => path).filter((path) => path !== 'tracker');
      expect([...(typed.get(name)?.keys() ?? [])].sort()).toEqual([...paths, 'container.labels'].sort());
    }
  });

  it.each<[RealmKind, string, readonly TraceEvent[], boolean]>([
    ['TRUSTED', 'live', live, false],
    ['SANDBOX', 'live', live, false],
    ['TRUSTED', 'recorded', recorded, true],
    ['SANDBOX', 'recorded', recorded, true],
  ])('are those of the values that it gets, of each tracker: %s, %s', async (realm, _what, events, strict) => {
    expect(await typesGiven(realm, events, strict)).toEqual(expected);
  });
});
