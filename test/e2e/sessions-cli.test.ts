import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';

const run = promisify(execFile);
const main = join(root, 'dist/main.js');
const path = `/no/such/sessions-cli-${process.pid}`;
let server: TestServer;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-sessions-'));
  server = await startServer(['--engine', 'none', '--data-dir', folder], { keep: true });
});
afterAll(async () => {
  await server.end('SIGTERM');
  rmSync(folder, { recursive: true });
});

const env = () => ({ ...process.env, EUNOMIA_SERVER: server.url });
const eunomia = async (...args: readonly string[]): Promise<string> =>
  (await run(process.execPath, [main, ...args], { env: env() })).stdout;
const look = (name: string): Promise<unknown> => readFile(`${path}/${name}`).catch(() => undefined);
const start = async (...args: readonly string[]): Promise<string> =>
  (
    await eunomia('start', 'open', '--pid', String(process.pid), '--where', `path.startsWith("${path}")`, ...args)
  ).trim();

it('a session goes on without the command that started it, and readers come and go', async () => {
  const id = await start('--name', 'mine', '--persist');
  expect(id).toMatch(/^[0-9a-f]{16}$/);
  await look('before');
  await until('the event is there', async () =>
    (await eunomia('attach', id, '--replay', '10', '-n', '1', '-f', 'path')).includes('/before'),
  );
  const reader = spawn(process.execPath, [main, 'attach', id, '-f', 'path', '-o', 'csv'], { env: env() });
  let out = '';
  let told = '';
  reader.stdout.on('data', (text: Buffer) => (out += String(text)));
  reader.stderr.on('data', (text: Buffer) => (told += String(text)));
  await until('it is attached', () => told.includes('attached'));
  await look('meanwhile');
  await until('it is told', () => out.includes('meanwhile'));
  reader.kill('SIGINT');
  expect(await once(reader, 'exit')).toEqual([0, null]);
  expect(out.split('\r\n')).toEqual(['path', `${path}/meanwhile`, '']);
  expect(told).toMatch(/1 event, 0 dropped\n$/);
  expect(await eunomia('status')).toMatch(new RegExp(`^${id} +mine +open +\\S+ +2 +0 +0 `, 'm'));
  expect(await eunomia('stop', id)).toBe(`${id}: stopped, 2 events, 0 lost\n`);
  expect(await eunomia('attach', id, '--replay', '10', '-f', 'path')).toMatch(/before\n.*meanwhile\n$/);
  expect(await eunomia('stop', id, '--remove')).toBe(`${id}: removed, 2 events, 0 lost\n`);
  expect(await eunomia('sessions')).not.toContain(id);
});

it('a status has what runs as JSON, too', async () => {
  const id = await start('--for', '10m', '--ttl', '1m');
  const status = JSON.parse(await eunomia('status', '-o', 'json')) as { sessions: { nodes: object[] }; server: object };
  expect(status.sessions.nodes).toEqual([expect.objectContaining({ id })]);
  expect(status.server).toMatchObject({ healthy: true });
  await eunomia('stop', '--remove', id);
});

it.each([
  [['attach', 'none'], 'the server has no session "none"; `eunomia sessions` lists them'],
  [['stop', 'none'], 'none'],
  [['start', 'opne'], 'no tracker "opne"; did you mean "open"'],
  [['start', 'open', '--persist', 'influx'], 'influx'],
  [['start', 'open', '--plugin', 'none'], 'none'],
  [['start', 'open', '--for', '10'], '--for: '],
  [['start'], "missing required argument 'tracker'"],
])('is refused in words: %j', async (args, message) => {
  await expect(eunomia(...args)).rejects.toMatchObject({
    code: expect.any(Number),
    stderr: expect.stringContaining(message),
  });
});

it('without a server, the command says how to name one', async () => {
  for (const command of ['status', 'start', 'attach', 'stop'])
    await expect(
      run(process.execPath, [main, command, 'open'].slice(0, command === 'status' ? 2 : 3), {
        env: { ...process.env, EUNOMIA_SERVER: '' },
      }),
    ).rejects.toMatchObject({ stderr: expect.stringMatching(/--server|EUNOMIA_SERVER/) });
});
