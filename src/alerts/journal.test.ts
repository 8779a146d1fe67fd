import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  cp,
  mkdir,
  open as openFile,
  readFile,
  readdir,
  rm,
  stat,
  writeFile,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { temporaryDirectory } from '../../test/support/store.js';
import { until, untilHolds } from '../../test/support/until.js';
import { createLog } from '../base/log.js';
import { root } from '../base/paths.js';
import type { Alert, NewAlert } from './alert.js';
import { AlertBook } from './book.js';
import { Journal } from './journal.js';
import { headRecord } from './record.js';

const log = createLog('silent');
const closing: (() => Promise<unknown>)[] = [];
let directory = '';

beforeEach(async () => {
  const { path, remove } = await temporaryDirectory();
  directory = path;
  closing.push(remove);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const alertOf = (title: string, more: Partial<NewAlert> = {}): NewAlert => ({
  severity: 'HIGH',
  title,
  message: 'a message',
  source: 'rule:test',
  rule: 'test',
  session: null,
  time: null,
  tracker: 'exec',
  process: { pid: 7, comm: 'sh' },
  container: { id: 'c1', name: 'web', image: 'nginx:1' },
  key: null,
  ...more,
});

async function open(retryMs = 20): Promise<AlertBook> {
  const book = await AlertBook.open(directory, { log, retryMs });
  closing.push(() => book.close());
  return book;
}

/** From here on `directory` has what a server that is killed leaves: its files as they are. */
async function killed(book: AlertBook): Promise<void> {
  await book.setPlace('nobody', book.revision); // behind all that was appended
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  await cp(directory, path, { recursive: true });
  directory = path;
}

const raise = (book: AlertBook, title: string, more?: Partial<NewAlert>): Alert => {
  const alert = book.raise(alertOf(title, more));
  if (!alert) throw new Error('no alert was made');
  return alert;
};

describe('alerts', () => {
  it('outlive a server that is killed, with all that people did with them, and ids and places go on', async () => {
    const first = await open();
    const evidence = { event: { path: '/etc/shadow' }, ancestors: [{ pid: 1, comm: 'init', args: ['init'] }] };
    const alert = raise(first, 'one', { tags: ['shell'], attack: ['T1059.004'], evidence, key: 'k' });
    raise(first, 'one', { key: 'k' });
    await first.change(alert, 'ACKNOWLEDGED', 'ada', 'I look');
    await first.change(alert, 'COMMENTED', 'ada', 'it was me');
    raise(first, 'two');
    first.end(); // writes counts, as a second would
    await killed(first);

    const second = await open();
    expect(second.list(10, () => true)).toEqual(first.list(10, () => true));
    const again = second.byId(alert.id);
    expect(again).toMatchObject({
      state: 'ACKNOWLEDGED',
      count: 2,
      history: [
        { action: 'ACKNOWLEDGED', by: 'ada', comment: 'I look' },
        { action: 'COMMENTED', comment: 'it was me' },
      ],
    });
    expect(JSON.parse(again?.evidence ?? '')).toMatchObject(evidence);
    expect(raise(second, 'one', { key: 'k' })).toMatchObject({ id: alert.id, count: 3 });
    expect(raise(second, 'three')).toMatchObject({ seq: 2, revision: 4 });
    expect((await stat(join(directory, 'alerts.ndjson'))).mode & 0o777).toBe(0o600);
  });

  it('have the events after them, or say that the server ended before they were gathered', async () => {
    const first = await open();
    const evidence = { event: {} };
    const [one, two, three] = ['one', 'two', 'three'].map((title) => raise(first, title, { evidence }));
    if (!one || !two || !three) throw new Error('no alerts');
    for (const alert of [one, two]) first.setAfter(alert, { events: '[]', isGathering: true, problem: null });
    await first.setPlace('x', 0);
    first.setAfter(one, { events: '[{"path":"/x"}]', isGathering: false, problem: null });
    await killed(first);
    const again = await open();
    expect([one, two, three].map(({ id }) => again.byId(id)?.after)).toEqual([
      { events: '[{"path":"/x"}]', isGathering: false, problem: null },
      { events: '[]', isGathering: false, problem: 'the server ended before they were gathered' },
      null,
    ]);
  });

  it('are all there but the one whose line was torn, and the next ones are read', async () => {
    const first = await open();
    raise(first, 'one');
    await killed(first);
    await appendFile(join(directory, 'alerts.ndjson'), '{"kind":"alert","alert":{"id":"to');
    const second = await open();
    raise(second, 'two');
    await killed(second);
    const third = await open();
    expect(third.list(10, () => true).map(({ title }) => title)).toEqual(['two', 'one']);
    expect(third.problem).toBeNull();
    expect(await readdir(directory)).not.toContain('alerts.ndjson.damaged');
  });

  it('that cannot be read are left out, and their lines are kept beside', async () => {
    const first = await open();
    raise(first, 'one');
    await killed(first);
    await appendFile(join(directory, 'alerts.ndjson'), 'garbage\n{"kind":"else"}\n');
    const second = await open();
    raise(second, 'two');
    await killed(second);
    const third = await open();
    expect(third.list(10, () => true).map(({ title }) => title)).toEqual(['two', 'one']);
    expect(await readFile(join(directory, 'alerts.ndjson.damaged'), 'utf8')).toContain('garbage');
    expect(await readFile(join(directory, 'alerts.ndjson'), 'utf8')).not.toContain('garbage');
  });

  it('are in memory, and say why, where another server has the directory or a newer version its file', async () => {
    const first = await open();
    const second = await open();
    expect(second).toMatchObject({
      isLasting: false,
      problem: expect.stringContaining(`the process ${process.pid} has`),
    });
    raise(second, 'in memory');
    await second.close();
    await first.close();
    await writeFile(join(directory, 'alerts.ndjson'), '{"kind":"head","format":2,"seq":0,"revision":0}\n');
    const third = await open();
    expect(third.problem).toContain(
      'alerts.ndjson: it was written by a newer version of Eunomia (format 2, and this one knows 1); use that version',
    );
    expect(await readFile(join(directory, 'alerts.ndjson'), 'utf8')).toContain('"format":2');
  });

  it('are there after a kill -9 at any moment, as far as anybody was told', async () => {
    const child = await bookInProcess();
    for (let i = 0; i < 50; i++) await child.ask({ raise: alertOf(`alert ${i}`) });
    await child.ask({ change: 'ACKNOWLEDGED' });
    for (let i = 50; i < 2000; i++) child.tell({ raise: alertOf(`alert ${i}`) });
    await child.ask({ raise: alertOf('the last one') });
    await child.end('SIGKILL');
    const book = await open();
    expect(book.problem).toBeNull();
    const [newest, ...others] = book.list(Number.POSITIVE_INFINITY, () => true).reverse();
    expect(newest).toMatchObject({ title: 'alert 0' });
    expect(others.length).toBeGreaterThanOrEqual(49);
    others.forEach(({ seq }, i) => expect(seq).toBe(i + 1));
    expect(others[48]).toMatchObject({ title: 'alert 49', state: 'ACKNOWLEDGED' });
  });

  it('are written by a server that began on a full disk once it has room', async () => {
    const child = await bookInProcess(['prlimit', '--fsize=0:unlimited']);
    expect(await child.ask({ raise: alertOf('while it is full') })).toMatchObject({
      problem: expect.stringContaining('EFBIG'),
    });
    child.limit(null);
    await untilHolds(
      'it is written',
      () => child.ask({}),
      ({ problem }) => problem === null,
    );
    await child.end('SIGKILL');
    const book = await open();
    expect(book.list(10, () => true)).toMatchObject([{ title: 'while it is full' }]);
  });

  it('are in memory while a file cannot grow, and written once it can', async () => {
    const child = await bookInProcess();
    await child.ask({ raise: alertOf('before') });
    child.limit(0);
    expect(await child.ask({ raise: alertOf('while it is full') })).toMatchObject({
      problem: expect.stringContaining('EFBIG'),
    });
    await child.ask({ change: 'RESOLVED' });
    child.limit(null);
    await untilHolds(
      'it is written again',
      () => child.ask({}),
      ({ problem }) => problem === null,
    );
    await child.ask({ raise: alertOf('after') });
    await child.end('SIGKILL');
    const book = await open();
    expect(book.list(10, () => true)).toMatchObject([
      { title: 'after' },
      { title: 'while it is full', state: 'RESOLVED', history: [{ by: 'a child' }] },
      { title: 'before' },
    ]);
  });

  it('that are raised while a file can be written again are all in it', async () => {
    const path = join(directory, 'alerts.ndjson');
    await mkdir(`${path}.new`); // no file can be made anew
    const book = await open();
    raise(book, 'before');
    await book.setPlace('x', 0);
    expect(book.problem).not.toBeNull();
    await rm(`${path}.new`, { recursive: true });
    for (let i = 0; book.problem !== null; i++) {
      book.raise(alertOf(`meanwhile ${i}`));
      await turn();
    }
    raise(book, 'after');
    await killed(book);
    const again = await open();
    expect(again.list(Number.POSITIVE_INFINITY, () => true)).toEqual(book.list(Number.POSITIVE_INFINITY, () => true));
  });

  it('do not fill the memory while a disk hangs, and are all in the file once it goes on', async () => {
    const { path, remove } = await temporaryDirectory();
    closing.push(remove);
    let alerts = 0;
    const journal = await Journal.open({ directory: path, log, retryMs: 20 }, () => undefined);
    closing.push(() => journal.close());
    journal.begin(function* () {
      yield headRecord(0, alerts);
      yield { kind: 'place', receiver: 'all', revision: alerts };
    });
    await journal.written();
    const handle = await openFile(path);
    const files = Object.getPrototypeOf(handle) as FileHandle;
    await handle.close();
    let hangs: Promise<void> | null = null;
    let goOn: () => void = () => undefined;
    const sync = vi.spyOn(files, 'datasync').mockImplementation(async () => void (await hangs));
    hangs = new Promise((resolve) => (goOn = resolve));
    closing.push(() => Promise.resolve(goOn()));
    let called = 0;
    const append = () =>
      journal.append(() => {
        called++;
        return { kind: 'place', receiver: 'one', revision: 0 };
      });
    append();
    await until('it is synced', () => sync.mock.calls.length === 1);
    for (alerts = 0; alerts < 150_000; alerts++) append();
    goOn();
    await journal.written();
    expect(called).toBe(1);
    expect(await readFile(join(path, 'alerts.ndjson'), 'utf8')).toContain('"receiver":"all","revision":150000');
    sync.mockRestore();
  });

  it('are in a file that does not grow with each start', async () => {
    const receiver = 'x'.repeat(200);
    for (let day = 0; day < 6; day++) {
      const book = await open();
      for (let i = 0; i < 10_000; i++) void book.setPlace(receiver, i);
      await book.close();
    }
    expect((await stat(join(directory, 'alerts.ndjson'))).size).toBeLessThan(8 << 20);
  });

  it('beyond the newest 10,000 are gone, and the file is made anew', async () => {
    const book = await open();
    const message = 'x'.repeat(2000);
    for (let i = 0; i < 12_000; i++) {
      raise(book, `alert ${i}`, { source: `rule:${i >> 10}`, message });
      if (i % 1000 === 0) await book.setPlace('x', i);
    }
    await killed(book);
    const { size } = await stat(join(directory, 'alerts.ndjson'));
    const again = await open();
    expect(again.size).toBe(10_000);
    expect(again.list(1, () => true)).toMatchObject([{ title: 'alert 11999', seq: 11_999 }]);
    await killed(again);
    raise(again, 'one more');
    expect(size).toBeLessThan(64 << 20);
  });

  it('of a source that raises too many are counted, and those of others stay', async () => {
    const book = await open();
    raise(book, 'of another', { source: 'rule:other' });
    for (let i = 0; i < 100_000; i++) book.raise(alertOf(`noise ${i}`, { source: 'rule:noise' }));
    const [, noise] = book.counts();
    expect(noise?.raised).toBe(100_000);
    expect(noise?.alerts).toBeLessThan(10_000);
    expect(noise?.suppressed).toBe(100_000 - (noise?.alerts ?? 0));
    expect(book.list(Number.POSITIVE_INFINITY, () => true).at(-1)).toMatchObject({ title: 'of another' });
  });
});

interface Told {
  readonly problem: string | null;
}

/** A book in a process of its own: the built one, with a journal in the directory. `wrap`: a command to run it by. */
async function bookInProcess(wrap: readonly string[] = []) {
  const script = `
    import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
    const { AlertBook } = await import(${JSON.stringify(join(root, 'build/alerts/book.js'))});
    const { createLog } = await import(${JSON.stringify(join(root, 'build/base/log.js'))});
    const book = await AlertBook.open(${JSON.stringify(directory)}, { log: createLog('silent'), retryMs: 1 });
    for await (const line of createInterface({ input: process.stdin })) {
      const { raise, change, quiet } = JSON.parse(line);
      if (raise) book.raise(raise);
      if (change) await book.change(book.list(1, () => true)[0], change, 'a child', null);
      if (quiet) continue;
      await book.setPlace('parent', book.revision);
      process.stdout.write(JSON.stringify({ problem: book.problem }) + '\\n');
    }`;
  const [command = '', ...args] = [...wrap, process.execPath, '--input-type=module', '-e', script];
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const tell = (command: object): void => void child.stdin.write(`${JSON.stringify({ ...command, quiet: true })}\n`);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
  };
  closing.push(() => end('SIGKILL'));
  return {
    tell,
    end,
    ask: async (command: object): Promise<Told> => {
      child.stdin.write(`${JSON.stringify(command)}\n`);
      const { value } = await lines.next();
      return JSON.parse(String(value)) as Told;
    },
    /** How large its files may be, in bytes: the real thing, without a disk that is full for others too. */
    limit: (bytes: number | null): void => {
      execFileSync('prlimit', [`--pid=${child.pid}`, `--fsize=${bytes ?? 'unlimited'}:unlimited`]);
    },
  };
}
