import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';

const run = promisify(execFile);
const main = join(root, 'dist/main.js');
const TOKEN = 'secret-of-the-admin';
/** A path that nobody else opens. */
const path = `/no/such/alerts-cli-${process.pid}`;
const RULES = `rules:
  - name: wanted-file
    description: Somebody looks for the file.
    severity: HIGH
    tags: [test]
    attack: [T1083]
    trackers: open
    condition: path.startsWith("${path}")
    message: '{process.comm} looks for {path}'
    key: [path]
    evades: Nothing.
    falsePositives: All.`;

let server: TestServer;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-alerts-'));
  const args = ['--engine', 'none', '--data-dir', folder, '--token', `admin:${TOKEN}`];
  server = await startServer(args, { keep: true, token: TOKEN });
  await server.query('mutation ($input: LoadRulesInput!) { loadRules(input: $input) { name } }', {
    input: { name: 'mine', source: RULES },
  });
});
afterAll(async () => {
  await server.end('SIGTERM');
  rmSync(folder, { recursive: true });
});

const env = () => ({ ...process.env, EUNOMIA_SERVER: server.url, EUNOMIA_TOKEN: TOKEN });
const eunomia = async (...args: readonly string[]): Promise<string> =>
  (await run(process.execPath, [main, 'alerts', ...args], { env: env() })).stdout;
const look = (name: string): Promise<unknown> => readFile(`${path}/${name}`).catch(() => undefined);
const listed = async (...args: readonly string[]) =>
  (await eunomia('list', '-o', 'json', ...args))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { readonly id: string; readonly state: string; readonly message: string });

it('follows what is raised, each alert once, and ends at Ctrl-C', async () => {
  const child = spawn(process.execPath, [main, 'alerts', '-n', '0', '--follow', '-o', 'json'], { env: env() });
  const messages: string[] = [];
  let told = '';
  child.stderr.on('data', (text: Buffer) => (told += String(text)));
  createInterface(child.stdout).on('line', (line) =>
    messages.push(String(Reflect.get(Object(JSON.parse(line)), 'message'))),
  );
  await until('it follows', () => told.includes('following'));
  for (const name of ['a', 'b', 'c']) await look(name);
  await until('all are told', () => messages.length >= 3);
  // What is raised later is told as well, and nothing is told again when the list comes.
  await new Promise((resolve) => setTimeout(resolve, 100));
  await look('d');
  await until('the last one is told', () => messages.some((message) => message.endsWith('/d')));
  child.kill('SIGINT');
  await once(child, 'exit');
  expect(messages.map((message) => message.replace(/.*\//, '')).toSorted()).toEqual(['a', 'b', 'c', 'd']);
});

it('lists the newest last, as many as are asked for, and those that match', async () => {
  for (const name of ['e', 'f']) {
    await look(name);
    await until('it is raised', async () => (await listed()).at(-1)?.message.endsWith(`/${name}`));
  }
  expect((await listed('-n', '2')).map(({ message }) => message.slice(-2))).toEqual(['/e', '/f']);
  expect(await listed('--severity', 'critical')).toEqual([]);
  expect(await listed('--rule', 'other')).toEqual([]);
  expect(await listed('--since', '2999-01-01T00:00:00Z')).toEqual([]);
  expect(
    (await listed('--severity', 'medium', '--rule', 'wanted-file', '--state', 'open', '--since', '1h')).length,
  ).toBeGreaterThan(1);
  expect((await listed('--severity', 'MEDIUM', '--state', 'OPEN')).length).toBeGreaterThan(1);
  expect(await eunomia()).toMatch(/^id +raised +severity +state +count +source +container +message\n/);
});

it('shows one with its evidence, and says what was done with it', async () => {
  const id = (await listed('-n', '1'))[0]?.id ?? '';
  expect(await eunomia('acknowledge', id, '--comment', 'I look into it')).toBe(`${id}: acknowledged\n`);
  expect(await eunomia('comment', id, '--comment', 'a test')).toBe(`${id}: acknowledged\n`);
  const text = await eunomia('show', id);
  for (const line of [
    /^severity +high$/m,
    /^tags +T1083, test$/m,
    /^ {2}path +\/no\/such\/alerts-cli/m,
    /^ {2}of +\d+ /m,
    /^acknowledged +\S+Z by token: I look into it$/m,
    /^commented +\S+Z by token: a test$/m,
  ])
    expect(text).toMatch(line);
  expect(await listed('--state', 'acknowledged')).toEqual([expect.objectContaining({ id })]);
  expect(await eunomia('resolve', id)).toBe(`${id}: resolved\n`);
  expect(await eunomia('reopen', id)).toBe(`${id}: open\n`);
});

it('handles those that there are also where one is not there', async () => {
  const [one, two] = await listed('-n', '2');
  await expect(eunomia('resolve', one?.id ?? '', 'none', two?.id ?? '')).rejects.toMatchObject({
    code: 1,
    stdout: `${one?.id}: resolved\n${two?.id}: resolved\n`,
    stderr: 'eunomia: there is no alert "none", or not any more; `eunomia alerts` lists those there are\n',
  });
  await eunomia('reopen', one?.id ?? '', two?.id ?? '');
});

it('says that a token is needed where none was given, and whose was sent instead', async () => {
  const other = mkdtempSync(join(tmpdir(), 'eunomia-other-'));
  const refused = (token: string) =>
    run(process.execPath, [main, 'sessions'], {
      env: { ...env(), EUNOMIA_TOKEN: token, EUNOMIA_DATA_DIR: other, XDG_RUNTIME_DIR: other },
    });
  writeFileSync(join(other, 'access-token'), 'a'.repeat(43), { mode: 0o600 });
  await expect(refused('')).rejects.toMatchObject({
    stderr: `eunomia: --token: this server needs a token, and it is not the one in ${other}/access-token\n`,
  });
  await expect(refused('wrong')).rejects.toMatchObject({
    stderr: 'eunomia: --token: the token is not known to this server\n',
  });
  rmSync(other, { recursive: true });
});

it.each([
  ['alerts', 'show', 'none'],
  ['alerts', 'resolve', 'none'],
  ['alerts', 'comment', 'none', '--comment', 'x'],
  ['alerts', 'unsilence', 'none'],
  ['attach', 'none'],
  ['stop', 'none'],
  ['update', 'none', '--name', 'x'],
  ['export', 'none'],
  ['report', '--session', 'none'],
  ['advise', 'none', '--session', 'none'],
])('an id that is not there is a failure, and no wrong usage: %s %s %s', async (...args) => {
  await expect(run(process.execPath, [main, ...args], { env: env() })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^eunomia: .*\bno (?:session|alert|silence) "none"/),
  });
});

it('keeps a rule quiet for a time', async () => {
  const [, silence = ''] =
    /^(\S+): until \S+Z\n$/.exec(
      await eunomia('silence', '--rule', 'wanted-file', '--for', '1h', '--reason', 'a test'),
    ) ?? [];
  expect(await eunomia('silences', '--active')).toMatch(/active +\S+Z +rule wanted-file +token +a test\n$/);
  expect(await eunomia('unsilence', silence)).toBe(`${silence}: ended\n`);
  expect(await eunomia('silences', '--active')).not.toContain(silence);
});

it.each([
  [['show', 'none'], 'there is no alert "none"'],
  [['list', '--state', 'opne'], '--state: "opne" is not one of open, acknowledged, resolved'],
  [
    ['list', '--severity', 'HUGE'],
    "option '--severity <severity>' argument 'HUGE' is invalid. Allowed choices are info, low",
  ],
  [['list', '--since', 'yesterday'], '--since: "yesterday" is neither a time like'],
  [['comment', 'none'], "required option '--comment <text>' not specified"],
  [['silence', '--rule', 'a', '--reason', 'b'], 'give --for or --until: a silence has an end'],
  [['silence', '--for', '1h', '--reason', 'b'], 'give at least one'],
  [['resolve', 'none'], 'there is no alert "none"'],
])('is refused in words: %j', async (args, message) => {
  await expect(eunomia(...args)).rejects.toMatchObject({
    code: expect.any(Number),
    stderr: expect.stringContaining(message),
  });
});
