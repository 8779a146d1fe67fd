import { DuckDBInstance } from '@duckdb/node-api';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { DuckStore } from '../../src/storage/duckdb/index.js';
import { RecordBatch } from '../../src/record/batch.js';
import { compileView } from '../../src/record/view.js';
import exec from '../../src/trackers/exec.js';
import exit from '../../src/trackers/exit.js';
import open from '../../src/trackers/open.js';
import tcp from '../../src/trackers/tcp.js';
import { layoutOf, packed, recordOf, type Values } from '../support/record.js';
import { end, openStore, record, slicesOf, temporaryDirectory } from '../support/store.js';
import { createServer, createFixture, post } from './support.js';

/** What paths and unknown values are in records is the same in the store, and in responses from it. */

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const definitions = [exec, exit, open, tcp];

function batch(): RecordBatch {
  const made = (name: string, values: Values, text = '') => {
    const layout = layoutOf(name);
    const bytes = Buffer.from(text);
    const word = (bytes.length << 16) | layout.size;
    const tracker = definitions.findIndex((definition) => definition.name === name);
    const path: Values = text ? { [name === 'open' ? 'resolved' : 'executable']: word } : {};
    return recordOf(layout, { tracker, ...values, ...path }, bytes);
  };
  const { data, offsets } = packed([
    made('exec', { bootNs: 1, executableState: 4, executableDeleted: 1, cwdState: 1 }, '/memfd:x (deleted)'),
    made('exit', { bootNs: 2, exitCode: -1, signal: 36 }),
    made(
      'open',
      { bootNs: 3, fd: 3, flags: 1n << 40n, how: 1, resolve: 8, resolvedState: 3, deleted: 1 },
      '(unreachable)/shadow',
    ),
    made('open', { bootNs: 4, errno: -2, fd: -1, flags: 2n ** 64n - 1n }),
    made('tcp', { bootNs: 5, tcpOperation: 4, errno: -97, durationNs: 2n ** 64n - 1n }),
  ]);
  const context = {
    views: definitions.map((definition) => compileView(definition, layoutOf(definition.name))),
    containerAt: () => null,
  };
  return new RecordBatch(data, offsets, context, {
    clock: { seconds: 0, nanoseconds: 0 },
    seq: 0,
    lost: 0,
    lostFrom: 0,
    lostTo: 0,
  });
}

const expected = [
  {
    executable: '/memfd:x (deleted)',
    executableState: 'ANONYMOUS',
    executableDeleted: true,
    cwdState: 'ROOTED',
    cwdDeleted: false,
    directory: null,
  },
  { exitCode: null, signal: 'SIGRTMIN+2' },
  {
    resolved: '(unreachable)/shadow',
    resolvedState: 'DETACHED',
    deleted: true,
    flags: ['O_RDONLY', '0x10000000000'],
    resolve: ['RESOLVE_BENEATH'],
    directory: null,
  },
  { resolved: null, resolvedState: null, deleted: null, flags: [], resolve: null, directory: null },
  { localAddress: null, localPort: null, remoteAddress: null, remotePort: null, ipVersion: null },
];
const selection = `
  ... on ExecEvent { executable executableState executableDeleted cwdState cwdDeleted directory }
  ... on ExitEvent { exitCode signal }
  ... on OpenEvent { resolved resolvedState deleted flags resolve directory }
  ... on TcpEvent { localAddress localPort remoteAddress remotePort ipVersion }`;

async function stored(path: string): Promise<DuckStore> {
  const store = openStore(path);
  const sink = await store.record(
    record(
      'stored',
      definitions.map(({ name }) => name),
    ),
  );
  await sink.write(slicesOf([batch()]), null);
  await sink.finish({ ...end, received: 5 });
  return store;
}

async function serve(store: DuckStore): Promise<string> {
  const { services } = await createFixture();
  const server = await createServer({ ...services, stores: new Map([['EMBEDDED', store]]) });
  closing.push(() => server.close());
  return server.url;
}

async function nodesOf(url: string, where = ''): Promise<unknown> {
  const { data, errors } = (
    await post(url, { query: `{ session(id: "stored") { events(first: 10${where}) { nodes { ${selection} } } } }` })
  ).json;
  expect(errors).toBeUndefined();
  const session = data?.['session'] as { readonly events: { readonly nodes: readonly unknown[] } } | undefined;
  return session?.events.nodes;
}

it('a stored event has the states of its paths, whole flags, and null for what was not known', async () => {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  const store = await stored(path);
  closing.push(() => store.close());
  const url = await serve(store);
  expect(await nodesOf(url)).toEqual(expected);
  expect(await nodesOf(url, ', where: { open: { resolvedState: { eq: DETACHED }, deleted: { eq: true } } }')).toEqual([
    expected[2],
  ]);
  expect(await nodesOf(url, ', where: { tcp: { remotePort: { isNull: true } } }')).toEqual([expected[4]]);
  expect(await nodesOf(url, ', where: { exec: { executableState: { in: [ANONYMOUS, DETACHED] } } }')).toEqual([
    expected[0],
  ]);
  expect(await nodesOf(url, ', where: { exit: { exitCode: { isNull: true } } }')).toEqual([expected[1]]);
});

it('a file of an earlier version, without these fields, is read: they are null', async () => {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  const store = await stored(path);
  await store.close();
  const instance = await DuckDBInstance.create(join(path, 'eunomia.duckdb'));
  const connection = await instance.connect();
  for (const [table, columns] of [
    ['event_open', ['resolvedState', 'deleted', 'resolve', 'directory']],
    ['event_exec', ['executableState', 'executableDeleted', 'cwdState', 'cwdDeleted', 'directory']],
  ] as const) {
    for (const column of columns) await connection.run(`ALTER TABLE ${table} DROP COLUMN "${column}"`);
  }
  connection.closeSync();
  instance.closeSync();
  const again = openStore(path);
  closing.push(() => again.close());
  expect(await nodesOf(await serve(again))).toEqual([
    { ...expected[0], executableState: null, executableDeleted: null, cwdState: null, cwdDeleted: null },
    expected[1],
    { ...expected[2], resolvedState: null, deleted: null, resolve: null },
    expected[3],
    expected[4],
  ]);
});
