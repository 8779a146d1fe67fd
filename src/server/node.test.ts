import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeOf } from './node.js';

let folder: string;
let lines: string[];
const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });

beforeEach(async () => {
  lines = [];
  folder = await mkdtemp(join(tmpdir(), 'node-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the identity of a server', () => {
  it('stays over restarts, in a file that only its owner may read', async () => {
    const dataDirectory = join(folder, 'data');
    const first = await nodeOf({ dataDirectory, nodeName: null }, log);
    expect(first).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), name: hostname() });
    expect(await nodeOf({ dataDirectory, nodeName: 'web-1' }, log)).toEqual({ id: first.id, name: 'web-1' });
    expect(await readFile(join(dataDirectory, 'node-id'), 'utf8')).toBe(`${first.id}\n`);
    expect((await stat(join(dataDirectory, 'node-id'))).mode & 0o777).toBe(0o600);
    expect(lines).toEqual([]);
  });

  it('is made again where a crash left its file empty', async () => {
    await writeFile(join(folder, 'node-id'), '');
    const { id } = await nodeOf({ dataDirectory: folder, nodeName: null }, log);
    expect((await nodeOf({ dataDirectory: folder, nodeName: null }, log)).id).toBe(id);
  });

  it('is of this run where there is no data directory', async () => {
    const [one, another] = await Promise.all([1, 2].map(() => nodeOf({ dataDirectory: null, nodeName: null }, log)));
    expect(one?.id).not.toBe(another?.id);
    expect(lines).toEqual([]);
  });

  it.each([
    ['is a link', (file: string) => symlink('/etc/hostname', file), 'symbolic link'],
    ['holds something else', (file: string) => writeFile(file, 'mine'), 'holds no node id; remove it'],
    ['is a directory', (file: string) => mkdir(file), 'directory'],
  ])('is of this run, with a warning, where the file %s', async (_what, make, why) => {
    await make(join(folder, 'node-id'));
    const [one, another] = [
      await nodeOf({ dataDirectory: folder, nodeName: null }, log),
      await nodeOf({ dataDirectory: folder, nodeName: null }, log),
    ];
    expect(one.id).not.toBe(another.id);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain(why);
  });

  it('takes away what others may do with a file that is there', async () => {
    const { id } = await nodeOf({ dataDirectory: folder, nodeName: null }, log);
    await chmod(join(folder, 'node-id'), 0o666);
    expect((await nodeOf({ dataDirectory: folder, nodeName: null }, log)).id).toBe(id);
    expect((await stat(join(folder, 'node-id'))).mode & 0o777).toBe(0o600);
  });
});
