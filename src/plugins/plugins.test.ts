import { chmod, chown, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AlertBook, type NewAlert } from '../alerts/book.js';
import { MetricBook } from './metrics.js';
import { Outbox } from './outbox.js';
import { Results } from './results.js';
import { compileRow } from './row.js';
import { compileSource, pluginFiles, readPlugin } from './source.js';
import { eventWith } from '../../test/support/event.js';

describe('a directory of plugins', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'eunomia-plugins-'));
    await writeFile(join(folder, 'a.ts'), 'const a: number = 1;\n', { mode: 0o644 });
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('holds TypeScript and JavaScript, but no declarations, tests or hidden files', async () => {
    for (const name of ['b.js', 'c.d.ts', 'd.test.ts', '.e.ts', 'f.txt']) await writeFile(join(folder, name), '');
    expect(await pluginFiles(folder)).toEqual([join(folder, 'a.ts'), join(folder, 'b.js')]);
    expect((await readPlugin(join(folder, 'a.ts'))).code).toContain('const a = 1;');
  });

  it.each([
    ['group', 0o775],
    ['everybody', 0o757],
  ])('is refused when its %s may write to it', async (_who, mode) => {
    await chmod(folder, mode);
    await expect(pluginFiles(folder)).rejects.toThrow(/is writable by others .*chmod go-w/);
  });

  it('is refused when others may write to a folder above it', async () => {
    const inner = join(folder, 'inner');
    await mkdir(inner);
    await chmod(folder, 0o777);
    await expect(pluginFiles(inner)).rejects.toThrow(`${folder}: is writable by others`);
  });

  it('is refused when another user owns it', async () => {
    await chown(folder, 12_345, 0);
    await expect(pluginFiles(folder)).rejects.toThrow(/belongs to the user 12345/);
  });

  it('is refused when it is none', async () => {
    await expect(pluginFiles(join(folder, 'a.ts'))).rejects.toThrow(/is no directory/);
    await expect(pluginFiles(join(folder, 'nope'))).rejects.toThrow(/ENOENT/);
  });

  it('gives no file that others may write, own, or point elsewhere', async () => {
    await chmod(join(folder, 'a.ts'), 0o664);
    await expect(readPlugin(join(folder, 'a.ts'))).rejects.toThrow(/is writable by others/);
    await chmod(join(folder, 'a.ts'), 0o644);
    await chown(join(folder, 'a.ts'), 12_345, 0);
    await expect(readPlugin(join(folder, 'a.ts'))).rejects.toThrow(/belongs to the user/);
    await symlink('/etc/passwd', join(folder, 'l.ts'));
    await expect(readPlugin(join(folder, 'l.ts'))).rejects.toThrow(/symbolic link/);
  });
});

describe('a source', () => {
  it('keeps each line where it was', async () => {
    const { code } = await compileSource(
      'a.ts',
      'import { definePlugin } from "eunomia/plugin";\ninterface A {\n  b: 1;\n}\n\nconst here: A = { b: 1 };\n',
    );
    expect(code.split('\n')[5]).toContain('const here');
  });
  it('with an error is refused with its line', () =>
    expect(compileSource('a.ts', '\n\nconst = 1;')).rejects.toThrow('a.ts:3: Unexpected token'));
  it('that is too long is refused', () =>
    expect(compileSource('a.ts', ' '.repeat((1 << 20) + 1))).rejects.toThrow(/at most 1048576/));
});

describe('an outbox', () => {
  const outbox = (): Outbox =>
    new Outbox(
      {
        c: { type: 'counter', help: 'h', labels: ['l'] },
        h: { type: 'histogram', help: 'h', buckets: [1, 10] },
      },
      's',
    );

  it('lets a thousand results through at once, and counts the rest', () => {
    const box = outbox();
    for (let i = 0; i < 1500; i++) box.emit('k', '{}');
    const { results, suppressed } = box.take();
    expect(results.length + suppressed).toBe(1500);
    expect(results.length).toBeGreaterThanOrEqual(1000);
    expect(results.length).toBeLessThan(1400);
  });

  it('bounds the series of a metric: the rest is "other"', () => {
    const box = outbox();
    for (let i = 0; i < 300; i++) box.metric('counter', 'c', 1, { l: `v${i}` });
    const { metrics } = box.take();
    expect(metrics).toHaveLength(101);
    expect(metrics.find(({ labels }) => labels[0] === 'other')?.value).toBe(200);
  });

  it.each([
    [(box: Outbox) => box.emit('a b', '{}'), /kind/],
    [(box: Outbox) => box.emit('k', '[]'), /must be an object/],
    [(box: Outbox) => box.emit('k', undefined), /must be an object/],
    [(box: Outbox) => box.emit('k', `{"a":"${'x'.repeat(70_000)}"}`), /at most 65536/],
    [(box: Outbox) => box.emit('k', `{"a":${'['.repeat(50)}${']'.repeat(50)}}`), /nested more than 32/],
    [(box: Outbox) => box.metric('counter', 'x', 1), /no metric "x"; declared are c, h/],
    [(box: Outbox) => box.metric('gauge', 'c', 1), /is a counter/],
    [(box: Outbox) => box.metric('counter', 'c', -1), /takes a number/],
    [(box: Outbox) => box.metric('counter', 'c', 1, { pid: '1' }), /no label "pid"/],
    [(box: Outbox) => box.alert({ severity: 'BAD' as 'LOW', title: 't', message: 'm' }, null), /severity is one of/],
    [(box: Outbox) => box.alert({ severity: 'LOW', title: '', message: 'm' }, null), /needs a title/],
  ])('refuses what is wrong (%#)', (act, message) => expect(() => act(outbox())).toThrow(message));

  it('sums up for a book of metrics that goes on over restarts', () => {
    const book = new MetricBook();
    for (let round = 0; round < 2; round++) {
      const box = outbox();
      box.metric('counter', 'c', 2, { l: 'a' });
      for (const value of [0.5, 5, 50]) box.metric('histogram', 'h', value);
      book.add(box.take().metrics, {
        c: { type: 'counter', help: 'h', labels: ['l'] },
        h: { type: 'histogram', help: 'h', buckets: [1, 10] },
      });
    }
    expect(book.samples('p', 's')).toEqual([
      { plugin: 'p', session: 's', metric: 'c', type: 'counter', help: 'h', labels: { l: 'a' }, value: 4, buckets: [] },
      {
        plugin: 'p',
        session: 's',
        metric: 'h',
        type: 'histogram',
        help: 'h',
        labels: {},
        value: 111,
        buckets: [
          { le: 1, count: 2 },
          { le: 10, count: 4 },
          { le: Number.POSITIVE_INFINITY, count: 6 },
        ],
      },
    ]);
  });
});

it('results are held up to a bound, are paged by their places, and are followed', async () => {
  const results = new Results('s');
  const feed = results.follow(0);
  results.add(
    Array.from({ length: 10_010 }, (_, i) => ({ kind: 'k', json: `{"i":${i}}`, place: null })),
    '1',
  );
  expect(results.count).toBe(10_010);
  expect(results.held.slice(0, 2).map(({ seq }) => seq)).toEqual([10, 11]);
  expect(results.held.at(-1)).toMatchObject({ seq: 10_009 });
  expect((await feed.next()).value).toMatchObject({ dropped: 10 });
  results.end();
  expect((await feed.next()).done).toBe(true);
});

it('alerts with one key are one; a reader gets those that match', async () => {
  const book = new AlertBook();
  const feed = book.follow(({ severity }) => severity === 'HIGH');
  const alert: NewAlert = {
    severity: 'HIGH',
    title: 't',
    message: 'm',
    source: 'plugin:p',
    session: 's',
    time: null,
    tracker: null,
    process: null,
    container: null,
    key: 'k',
  };
  book.raise(alert);
  book.raise(alert);
  book.raise({ ...alert, session: 'other' });
  book.raise({ ...alert, key: null, severity: 'LOW' });
  expect(book.list(10, () => true).map(({ count, session, severity }) => [count, session, severity])).toEqual([
    [1, 's', 'LOW'],
    [1, 'other', 'HIGH'],
    [2, 's', 'HIGH'],
  ]);
  expect([(await feed.next()).value?.session, (await feed.next()).value?.session]).toEqual(['s', 'other']);
  const waiting = feed.next();
  await feed.return?.();
  expect((await waiting).done).toBe(true);
});

it('a row of an event holds what was read and no more', () => {
  const event = eventWith('exec', {
    args: ['a'],
    cwd: '/',
    process: { pid: 1, comm: 'x', uid: 0 },
    container: { id: 'i', name: 'n', labels: { 'a"b': '1', c: '2' } },
  });
  expect(compileRow(['args', 'process.pid', 'container.name', 'container.labels.a"b'])(event)).toEqual({
    tracker: 'exec',
    args: ['a'],
    process: { pid: 1 },
    container: { name: 'n', labels: { 'a"b': '1' } },
  });
  expect(compileRow(['container.name'])({ ...event, container: null })).toEqual({ tracker: 'exec', container: null });
});
