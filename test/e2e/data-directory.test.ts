import { execFile, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startServer, startSession, stopSession } from '../support/server.js';
import { until } from '../support/until.js';

// Up and down over a data directory that has files of all kinds. The next release is simulated by the format that each file has: a release
// whose files this one cannot read raises it.

const run = promisify(execFile);
const main = join(root, 'dist/main.js');
const folder = mkdtempSync(join(tmpdir(), 'eunomia-data-'));
const full = join(folder, 'full');
afterAll(() => rmSync(folder, { recursive: true }));

const TOKEN = 'admin-of-all-the-data';
/** Nobody is there: points wait in the spool. */
const serving = (data: string): readonly string[] =>
  ['--engine', 'none', '--data-dir', data, '--influx-url', 'http://127.0.0.1:9', '--influx-version', '1'].concat([
    '--influx-user',
    'x',
    '--token',
    `admin:${TOKEN}`,
  ]);

const rule = (name: string, more: string): string => `
  - name: ${name}
    description: A program is executed.
    severity: LOW
    trackers: exec
    condition: process.comm == "true"
    message: '{process.comm}'
    ${more}`;
const FIRST_SEEN = 'firstSeen: { values: [executable], for: [process.comm], learn: 24h }';
const RULES = `rules:${rule('seen', 'interval: 0s')}${rule('new', FIRST_SEEN)}\n`;

type Change = (path: string) => Promise<unknown> | void;
const inText =
  (from: RegExp, to: string): Change =>
  (path) => {
    const text = readFileSync(path, 'utf8');
    expect(text).toMatch(from);
    writeFileSync(path, text.replace(from, to));
  };

/** Each file of the directory: how a newer version's is told, or why none needs to be. */
const files: readonly (readonly [file: RegExp, raise: Change | string])[] = [
  [/^eunomia\.duckdb$/, (path) => inDatabase(path, 'UPDATE meta SET version = 2')],
  [/^(?:alerts|rules-learned)\.ndjson$/, inText(/"format":1\b/, '"format":2')],
  [/^(?:queries|advice-runtimes)\.json$/, inText(/"format":1\b/, '"format":2')],
  [/^rules\/[a-z0-9-]+\.yaml$/, inText(/interval: 0s/, 'newerThanThis: 1')],
  [/^influx-spool\/format$/, inText(/^1$/m, '2')],
  [/^influx-spool\/(?:id|place|\d{12}\.points)$/, 'influx-spool/format tells it'],
  [/^(?:node-id|access-token)$/, inText(/^/, '2:')],
  [/^(?:alerts\.lock|influx-spool\/lock|eunomia\.reserve)$/, 'what it has in it means nothing'],
  [/^(?:eunomia\.duckdb\.wal|temporary\/.*)$/, 'of eunomia.duckdb'],
];
const filesIn = (data: string): readonly string[] =>
  readdirSync(data, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(data.length + 1));

async function inDatabase(file: string, ...statements: readonly string[]): Promise<void> {
  const instance = await DuckDBInstance.create(file);
  const connection = await instance.connect();
  for (const sql of statements) await connection.run(sql);
  connection.closeSync();
  instance.closeSync();
}

beforeAll(async () => {
  await (await startServer(['--engine', 'none', '--data-dir', full], { keep: true })).end('SIGTERM'); // the token
  const server = await startServer(serving(full), { keep: true, token: TOKEN });
  await server.query('mutation ($text: String!) { loadRules(input: { name: "mine", source: $text }) { name } }', {
    text: RULES,
  });
  await server.query(
    'mutation { saveQuery(name: "failed", content: { filter: { where: { expr: "errno != null" } } }) { id } }',
  );
  const target = `trackers: [{ exec: {} }, { tcp: {} }], target: { pids: [${process.pid}] }`;
  const sessions = [
    await startSession(server, `{ name: "kept", ${target}, persist: { store: EMBEDDED } }`),
    await startSession(server, `{ ${target}, persist: { store: INFLUX } }`),
  ];
  await until('alerts, and points in the spool', async () => {
    spawn('true');
    connect(1, '127.0.0.1').on('error', () => undefined);
    const { alertStatus } = await server.query<{ alertStatus: { open: number } }>('{ alertStatus { open } }');
    return alertStatus.open > 2 && filesIn(full).some((file) => file.endsWith('.points'));
  });
  for (const id of sessions) await stopSession(server, id);
  await server.end('SIGTERM');
  // As advice leaves it (test/e2e/advise.test.ts), which needs an engine.
  const runtimes = { runc: { plain: ['read'], noNewPrivileges: ['read'] } };
  writeFileSync(join(full, 'advice-runtimes.json'), JSON.stringify({ format: 1, runtimes }), { mode: 0o600 });
});

/** Runs a server until it serves, or ends by itself, and returns what it has said, and what `eunomia status` says. */
async function tried(args: readonly string[]): Promise<{ readonly told: string; readonly status: string }> {
  const server = spawn(process.execPath, [main, 'serve', '--port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  let [out, told] = ['', ''];
  server.stdout.on('data', (text: Buffer) => (out += String(text)));
  server.stderr.on('data', (text: Buffer) => (told += String(text)));
  await until('it serves', () => out.includes('http:') || server.exitCode !== null);
  const url = /(http:\S+)\/graphql/.exec(out)?.[1];
  const env = { ...process.env, EUNOMIA_SERVER: url, EUNOMIA_TOKEN: TOKEN };
  const status = url === undefined ? '' : (await run(process.execPath, [main, 'status'], { env })).stdout;
  if (url !== undefined) {
    const list = await run(process.execPath, [main, 'queries'], { env }).catch((error: { stderr: string }) => error);
    told += 'stderr' in list ? list.stderr : '';
  }
  server.kill('SIGTERM');
  await ended;
  return { told, status };
}

const raiseOf = (file: string): Change | string | undefined => files.find(([name]) => name.test(file))?.[1];
const versioned = (data: string) =>
  filesIn(data).flatMap((file) => {
    const raise = raiseOf(file);
    return typeof raise === 'function' ? [{ file, raise }] : [];
  });

it('each file of a data directory has a format, or needs none', () => {
  expect(filesIn(full).filter((file) => raiseOf(file) === undefined)).toEqual([]);
  const missing = files.filter(
    ([name, raise]) => typeof raise === 'function' && !filesIn(full).some((file) => name.test(file)),
  );
  expect(missing).toEqual([]);
});

/** Those that nothing is read from until somebody asks. */
const unread = new Set(['advice-runtimes.json']);

it.each([
  ['access-token', (file: string) => file === 'access-token', ['--engine', 'none']],
  ['the spool', (file: string) => file.startsWith('influx-spool'), null],
  ['what rules have learned', (file: string) => file.startsWith('rules-learned'), null],
  ['all others', (file: string) => !/^(?:access-token|influx-spool|rules-learned)/.test(file), null],
] as const)(
  'files of a newer version are left as they are, and named with what helps: %s',
  async (_what, isRaised, given) => {
    const data = mkdtempSync(join(folder, 'newer-'));
    cpSync(full, data, { recursive: true });
    const raised = versioned(data).filter(({ file }) => isRaised(file));
    expect(raised.length).toBeGreaterThan(0);
    for (const { file, raise } of raised) await raise(join(data, file));
    const contents = () => raised.map(({ file }) => [file, readFileSync(join(data, file), 'base64')]);
    const before = contents();
    const { told, status } = await tried(given ? [...given, '--data-dir', data] : serving(data));
    expect(contents()).toEqual(before);
    for (const { file } of raised.filter((one) => !unread.has(one.file))) {
      const name = file.split('/')[0] ?? file;
      const lines = `${told}\n${status}`.split('\n').filter((line) => line.includes(data) && line.includes(name));
      expect([file, lines.join('\n')]).toEqual([file, expect.stringMatching(/version|holds no/)]);
      expect([file, lines.join('\n')]).toEqual([
        file,
        expect.stringMatching(/use that version|start (?:that|the) version|remove it/),
      ]);
    }
  },
);

it('files of older versions are read, with what they hold', async () => {
  const data = mkdtempSync(join(folder, 'older-'));
  cpSync(full, data, { recursive: true });
  await inDatabase(
    join(data, 'eunomia.duckdb'),
    'DROP TABLE lineage',
    'ALTER TABLE event_tcp RENAME COLUMN "tcpOperation" TO operation',
    'ALTER TABLE event_exec DROP COLUMN "executableState"',
  );
  // Written before alerts had these.
  const alerts = readFileSync(join(data, 'alerts.ndjson'), 'utf8').split('\n').filter(Boolean);
  const kept = alerts.filter((line) => line.includes('"kind":"alert"')).length;
  const older = alerts.map((line) =>
    JSON.stringify(JSON.parse(line), (key, value: unknown) =>
      ['eventId', 'webhooks', 'after', 'session'].includes(key) && value === null ? undefined : value,
    ),
  );
  writeFileSync(join(data, 'alerts.ndjson'), `${older.join('\n')}\n`);
  rmSync(join(data, 'influx-spool/format'));
  const server = await startServer(serving(data), { token: TOKEN });
  const found = await server.query<{ sessions: { nodes: readonly { name: string; events: object }[] } }>(`{
    sessions { nodes { name events(first: 500) { nodes { tracker ... on TcpEvent { tcpOperation } } } } }
    alertStatus { problem open } stores { kind state problem } rules { problem rules { name } } savedQueries { nodes { name } }
  }`);
  const { sessions, ...rest } = found;
  const events = sessions.nodes.find(({ name }) => name === 'kept')?.events;
  expect(events).toEqual({
    nodes: expect.arrayContaining([
      { tracker: 'tcp', tcpOperation: 'CONNECT_FAILED' },
      { tracker: 'exec' },
    ]) as object[],
  });
  expect(rest).toEqual({
    // Whoever else executes true meanwhile raises some.
    alertStatus: { problem: null, open: expect.toSatisfy((open: number) => open >= kept) as number },
    stores: [
      { kind: 'EMBEDDED', state: 'READY', problem: null },
      {
        kind: 'INFLUX',
        state: 'PAUSED',
        problem: expect.stringMatching(/[1-9]\d* points .* wait in the spool/) as string,
      },
    ],
    rules: { problem: null, rules: [{ name: 'new' }, { name: 'seen' }] },
    savedQueries: { nodes: [{ name: 'failed' }] },
  });
});
