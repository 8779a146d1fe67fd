import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pluginFiles, readPlugin } from '../plugins/source.js';
import { Database } from '../storage/duckdb/database.js';
import { Spool } from '../storage/influx/spool.js';
import { openPrivate, privateDirectory, readTrusted, replacePrivate } from './file.js';

const STRANGER = 12_345;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-file-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (...names: string[]): string => join(folder, ...names);
const modeOf = (path: string): number => statSync(path).mode & 0o7777;
const fifo = (path: string): void => void spawnSync('mkfifo', [path]);

describe('a file that we trust', () => {
  beforeEach(() => writeFileSync(at('file'), 'text', { mode: 0o600 }));

  it('is read', () => {
    for (const kind of ['CODE', 'SECRET', 'CONFIG'] as const)
      expect(readTrusted(at('file'), kind).toString()).toBe('text');
  });

  it('is never waited for: a FIFO, a folder and a device are refused at once', () => {
    fifo(at('fifo'));
    for (const kind of ['CODE', 'SECRET', 'CONFIG'] as const) {
      for (const path of [at('fifo'), folder, '/dev/zero'])
        expect(() => readTrusted(path, kind)).toThrow(/is no regular file/);
    }
  });

  it('is refused when it is larger than a mebibyte', () => {
    writeFileSync(at('file'), Buffer.alloc((1 << 20) + 1), { mode: 0o600 });
    expect(() => readTrusted(at('file'), 'CONFIG')).toThrow(/is larger than 1 MiB/);
  });

  it('is refused as a secret when everybody may read it, and not when its group may', () => {
    chmodSync(at('file'), 0o604);
    expect(() => readTrusted(at('file'), 'SECRET')).toThrow(`is open to everybody; run: chmod o= ${at('file')}`);
    chmodSync(at('file'), 0o440);
    expect(readTrusted(at('file'), 'SECRET').toString()).toBe('text');
  });

  it('is refused when a stranger owns it, but as configuration, which may be mounted from elsewhere', () => {
    chownSync(at('file'), STRANGER, STRANGER);
    expect(() => readTrusted(at('file'), 'SECRET')).toThrow(/belongs to the user 12345.*chown 0/);
    expect(() => readTrusted(at('file'), 'CODE')).toThrow(/belongs to the user 12345/);
    expect(readTrusted(at('file'), 'CONFIG').toString()).toBe('text');
  });

  it('is refused when others may write it', () => {
    chmodSync(at('file'), 0o660);
    expect(() => readTrusted(at('file'), 'SECRET')).toThrow(/is writable by others/);
    chmodSync(at('file'), 0o666);
    expect(() => readTrusted(at('file'), 'CONFIG')).toThrow(/is writable by others.*chmod o-w/);
  });

  it('is refused when others may put another in its place', () => {
    mkdirSync(at('open'));
    writeFileSync(at('open', 'file'), 'text', { mode: 0o600 });
    chmodSync(at('open'), 0o777);
    for (const kind of ['CODE', 'SECRET', 'CONFIG'] as const)
      expect(() => readTrusted(at('open', 'file'), kind)).toThrow(`${at('open')}: is writable by others`);
    chmodSync(at('open'), 0o1777);
    for (const kind of ['CODE', 'SECRET', 'CONFIG'] as const)
      expect(readTrusted(at('open', 'file'), kind).toString()).toBe('text');
  });

  it('may be reached by links of ours, as Kubernetes and certbot make them, but not as code, nor by a stranger’s link', () => {
    mkdirSync(at('data'));
    writeFileSync(at('data', 'key'), 'text', { mode: 0o440 });
    symlinkSync('data', at('..data'));
    symlinkSync('..data/key', at('key'));
    expect(readTrusted(at('key'), 'SECRET').toString()).toBe('text');
    expect(() => readTrusted(at('key'), 'CODE')).toThrow(/is a symbolic link/);
    chmodSync(folder, 0o1777);
    spawnSync('ln', ['-s', at('data', 'key'), at('theirs')]);
    spawnSync('chown', ['-h', String(STRANGER), at('theirs')]);
    expect(lstatSync(at('theirs')).uid).toBe(STRANGER);
    for (const kind of ['SECRET', 'CONFIG'] as const)
      expect(() => readTrusted(at('theirs'), kind)).toThrow(/is reached by the link .* of the user 12345/);
    symlinkSync('loop', at('loop'));
    expect(() => readTrusted(at('loop'), 'CONFIG')).toThrow(/too many links/);
  });
});

describe('while a stranger exchanges a folder for links as fast as they can', () => {
  let child: ChildProcess;
  beforeEach(() => {
    chmodSync(folder, 0o1777);
    const swap = `cd ${folder}; while :; do mkdir -p mine; echo evil > mine/file; rm -rf mine; ln -s /run mine; rm -f mine; done`;
    child = spawn(
      'setpriv',
      ['--reuid', String(STRANGER), '--regid', String(STRANGER), '--clear-groups', 'sh', '-c', swap],
      { stdio: 'ignore', detached: true },
    );
  });
  afterEach(async () => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    await once(child, 'exit');
  });

  it('nothing of theirs is read as ours', () => {
    for (let tries = 0; tries < 2000; tries++)
      for (const kind of ['CODE', 'SECRET'] as const) expect(() => readTrusted(at('mine', 'file'), kind)).toThrow();
  });

  it('our folder is made where it should be, or not at all', () => {
    const leaf = `eunomia-race-${process.pid}`;
    let made = 0;
    for (let tries = 0; tries < 2000; tries++) {
      try {
        privateDirectory(at('mine', leaf));
      } catch {
        continue;
      }
      made++;
      expect([lstatSync(at('mine')).uid, lstatSync(at('mine')).isDirectory(), modeOf(at('mine', leaf))]).toEqual([
        0,
        true,
        0o700,
      ]);
      rmSync(at('mine'), { recursive: true });
    }
    expect(lstatSync(`/run/${leaf}`, { throwIfNoEntry: false })).toBeUndefined();
    expect(made).toBeGreaterThan(0);
  });
});

describe('a folder of plugins', () => {
  it('with a FIFO in it is refused, and does not block', async () => {
    fifo(at('plugin.ts'));
    chmodSync(folder, 0o755);
    expect(await pluginFiles(folder)).toEqual([at('plugin.ts')]);
    await expect(readPlugin(at('plugin.ts'))).rejects.toMatchObject({
      code: 'UNSAFE_PLUGINS',
      message: expect.stringContaining('is no regular file') as string,
    });
  });
});

describe('a folder of our own', () => {
  it('is made for us alone', () => {
    privateDirectory(at('a', 'b'));
    expect([modeOf(at('a')), modeOf(at('a', 'b'))]).toEqual([0o700, 0o700]);
  });

  it('that is there already is closed to others; its group may go on reading', () => {
    for (const [before, after] of [
      [0o755, 0o750],
      [0o777, 0o750],
      [0o1777, 0o750],
      [0o700, 0o700],
      [0o770, 0o750],
    ] as const) {
      chmodSync(folder, before);
      privateDirectory(folder);
      expect(modeOf(folder)).toBe(after);
    }
  });

  it('is refused when a stranger owns it or a folder above it, and nothing is made there', () => {
    mkdirSync(at('theirs'));
    chownSync(at('theirs'), STRANGER, STRANGER);
    expect(() => privateDirectory(at('theirs'))).toThrow(/belongs to the user 12345/);
    expect(() => privateDirectory(at('theirs', 'deep', 'data'))).toThrow(/belongs to the user 12345/);
    expect(lstatSync(at('theirs', 'deep'), { throwIfNoEntry: false })).toBeUndefined();
  });

  it('has files that are no links, have one name, and are ours', async () => {
    writeFileSync(at('victim'), 'precious', { mode: 0o600 });
    symlinkSync(at('victim'), at('link'));
    linkSync(at('victim'), at('second'));
    fifo(at('fifo'));
    const flags = constants.O_WRONLY | constants.O_CREAT;
    await expect(openPrivate(at('link'), flags)).rejects.toThrow(/is a symbolic link; remove it/);
    await expect(openPrivate(at('second'), flags)).rejects.toThrow(/has a second name/);
    await expect(openPrivate(at('fifo'), constants.O_RDONLY)).rejects.toThrow(/is no regular file/);
    writeFileSync(at('wide'), '', { mode: 0o644 });
    await (await openPrivate(at('wide'), constants.O_RDONLY)).close();
    expect(modeOf(at('wide'))).toBe(0o600);
    expect(readFileSync(at('victim'), 'utf8')).toBe('precious');
  });
});

describe('a file that is replaced', () => {
  async function* parts(error?: Error): AsyncGenerator<string> {
    yield 'new';
    if (error) throw error;
  }

  it('is the old one, and has nothing beside it, when that fails', async () => {
    await replacePrivate(at('file'), parts());
    await expect(replacePrivate(at('file'), parts(new Error('no text')))).rejects.toThrow('no text');
    mkdirSync(at('folder'));
    await expect(replacePrivate(at('folder'), 'text')).rejects.toMatchObject({ code: 'EISDIR' });
    expect(readdirSync(folder)).toEqual(['file', 'folder']);
    expect(readFileSync(at('file'), 'utf8')).toBe('new');
  });
});

describe('the data directory', () => {
  const open = async (): Promise<void> => (await Database.open(at('data', 'eunomia.duckdb'), [], 64 << 20)).close();

  it('that everybody may read hides its history from then on', async () => {
    mkdirSync(at('data'));
    chmodSync(at('data'), 0o755);
    await open();
    chmodSync(at('data'), 0o755);
    chmodSync(at('data', 'eunomia.duckdb'), 0o644);
    await open();
    expect([modeOf(at('data')), modeOf(at('data', 'eunomia.duckdb'))]).toEqual([0o750, 0o600]);
  });

  it('of somebody else is refused, and truncates no file through their links', async () => {
    writeFileSync(at('victim'), 'precious');
    mkdirSync(at('data'));
    for (const name of [`.probe-${process.pid}`, 'eunomia.duckdb', 'eunomia.duckdb.wal'])
      symlinkSync(at('victim'), at('data', name));
    chownSync(at('data'), STRANGER, STRANGER);
    await expect(open()).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/belongs to the user 12345.*give another one with --data-dir/) as string,
    });
    chownSync(at('data'), 0, 0);
    await expect(open()).rejects.toThrow(/is a symbolic link; remove it/);
    expect(readFileSync(at('victim'), 'utf8')).toBe('precious');
  });
});

describe('the spool for InfluxDB', () => {
  it('is refused where somebody laid out links or another owns it', async () => {
    writeFileSync(at('victim'), 'precious', { mode: 0o600 });
    for (const name of ['lock', '000000000001.points', 'place']) {
      const spool = at(`spool-${name}`);
      mkdirSync(spool, { mode: 0o700 });
      symlinkSync(at('victim'), join(spool, name));
      const opened = Spool.open(spool, { maxBytes: 1 << 20, drop: 'OLDEST' });
      if (name === 'place') await (await opened).close();
      else await expect(opened).rejects.toMatchObject({ code: 'SPOOL_UNUSABLE' });
    }
    mkdirSync(at('theirs'));
    chownSync(at('theirs'), STRANGER, STRANGER);
    await expect(Spool.open(at('theirs'), { maxBytes: 1 << 20, drop: 'OLDEST' })).rejects.toThrow(
      /belongs to the user 12345/,
    );
    expect(readFileSync(at('victim'), 'utf8')).toBe('precious');
  });
});
