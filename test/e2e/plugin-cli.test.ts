import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startServer } from '../support/server.js';

const run = promisify(execFile);
const main = join(root, 'dist/main.js');
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-plugin-'));
  await symlink(main, join(folder, 'eunomia'));
});
afterAll(() => rm(folder, { recursive: true }));

const eunomia = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, [main, 'plugin', ...args], { cwd: folder, env: { ...process.env, ...env } });
const linesOf = (text: string): unknown[] =>
  text
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));

it('makes a plugin that passes its own test, trusted and sandboxed', async () => {
  await eunomia(['new', 'mine']);
  const results = [
    { result: 'top', value: { 'web: sh': 1 } },
    { result: 'top', value: { 'web: ls': 1 } },
  ];
  const args = ['test', 'mine', '--replay', 'mine/events.ndjson'];
  expect(linesOf((await eunomia(args)).stdout)).toEqual(results);
  expect(linesOf((await eunomia([...args, '--sandbox'])).stdout)).toEqual(results);
  const { stdout } = await eunomia([...args, '--options', '{"alertOnFailure":true}']);
  expect(linesOf(stdout)).toContainEqual({
    alert: expect.objectContaining({ severity: 'INFO', process: expect.objectContaining({ pid: 101 }) }),
  });
  await run(join(folder, 'mine/test.sh'), [], { env: { ...process.env, PATH: `${folder}:${process.env['PATH']}` } });
  await expect(eunomia(['new', 'mine'])).rejects.toThrow(/is there already/);
});

const plugin = (reads: string, body: string): string =>
  "import { definePlugin } from 'eunomia/plugin';\nexport default definePlugin({ name: 'tried', version: '1', " +
  `summary: 's', reads: { exec: [${reads}] },\n  onBatch(events, context) {\n    for (const event of events) ` +
  `${body}\n  } });\n`;

it.each([
  [
    'a field that is not declared',
    "'filename'",
    'context.log(String(event.errno));',
    'reads "errno" of the tracker exec and does not declare it: add it to reads.exec',
  ],
  [
    'a field of the process that is not declared',
    "'process.pid'",
    'context.log(event.process.comm);',
    'reads "process.comm" of the tracker exec and does not declare it',
  ],
  ['a misspelt field', "'filename'", 'context.log(String(event.filname));', 'have no field "filname"'],
  [
    'a field that the recording lacks',
    "'cwd'",
    'context.log(String(event.cwd));',
    'the recorded exec event has no "cwd"',
  ],
])('a test fails, trusted and sandboxed, where a plugin reads %s', async (_what, reads, body, message) => {
  await writeFile(join(folder, 'tried.ts'), plugin(reads, body));
  const args = ['test', 'tried.ts', '--replay', 'mine/events.ndjson'];
  for (const more of [[], ['--sandbox']])
    await expect(eunomia([...args, ...more])).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(new RegExp(`tried.ts:4: TypeError: .*${message}`)),
    });
});

it('a test fails where a recorded event has a value of another type than the schema says', async () => {
  await writeFile(join(folder, 'typed.ndjson'), '{"tracker":"exec","filename":"/bin/sh","process":{"pid":"7"}}\n');
  await writeFile(join(folder, 'tried.ts'), plugin("'filename'", 'context.log(String(event.filename));'));
  await expect(eunomia(['test', 'tried.ts', '--replay', 'typed.ndjson'])).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('typed.ndjson:1: "process.pid" is "7", not a whole number'),
  });
});

it('makes a plugin with its types: the compiler takes it, and finds a misspelt field', async () => {
  const tsc = (): Promise<unknown> =>
    run(process.execPath, [join(root, 'node_modules/.bin/tsc'), '-p', join(folder, 'mine')]);
  await tsc();
  const file = join(folder, 'mine/plugin.ts');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('event.filename ??', 'event.filenam ??'));
  await expect(tsc()).rejects.toMatchObject({
    stdout: expect.stringMatching(/plugin\.ts\(\d+,\d+\): error .*filenam/),
  });
  await writeFile(file, text);
});

it('tells file and line of what is wrong, with a code for it', async () => {
  await writeFile(
    join(folder, 'bad.ts'),
    "import { definePlugin } from 'eunomia/plugin';\nexport default definePlugin({ name: 'bad', version: '1', " +
      "summary: 's', reads: { exec: ['filename'] },\n  onBatch() {\n    throw new Error('no');\n  } });\n",
  );
  await expect(eunomia(['test', 'bad.ts', '--replay', 'mine/events.ndjson'])).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('bad.ts:4: Error: no'),
  });
  await writeFile(join(folder, 'broken.ndjson'), '{"eunomia":1}\n{"tracker":"exec"}\n{oh\n');
  await expect(eunomia(['test', 'mine', '--replay', 'broken.ndjson'])).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('broken.ndjson:3: is not JSON'),
  });
  await expect(eunomia(['test', 'mine', '--replay', 'nope'])).rejects.toMatchObject({ code: 2 });
  await expect(eunomia(['list'])).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('--server') });
});

it('loads, lists and unloads on a server, with the right to', async () => {
  const [admin, operator] = ['a-secret-of-the-admin', 'a-secret-of-the-operator'];
  const server = await startServer(
    ['--engine', 'none', '--token', `admin:${admin}`, '--token', `operator:${operator}`],
    { token: admin },
  );
  const as = (token: string): NodeJS.ProcessEnv => ({ EUNOMIA_SERVER: server.url, EUNOMIA_TOKEN: token });
  await expect(eunomia(['load', 'mine/plugin.ts'], as(operator))).rejects.toThrow(/needs the role admin/);
  expect((await eunomia(['load', 'mine/plugin.ts'], as(admin))).stdout).toBe('loaded mine 1.0.0\n');
  expect(JSON.parse((await eunomia(['list', '-o', 'json'], as(operator))).stdout)).toMatchObject([
    { name: 'mine', origin: 'UPLOAD', trackers: ['exec'] },
  ]);
  expect((await eunomia(['unload', 'mine'], as(admin))).stdout).toBe('unloaded mine\n');
  expect((await eunomia(['list'], as(admin))).stdout).not.toContain('mine');
});

it('refuses a server whose folder of plugins others may write to', async () => {
  const open = await mkdtemp(join(folder, 'open-'));
  await run('chmod', ['o+w', open]);
  await expect(
    run(process.execPath, [main, 'serve', '--data-dir', 'none', '--port', '0', '--engine', 'none', '--plugins', open]),
  ).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(/is writable by others .*chmod go-w/) });
});
