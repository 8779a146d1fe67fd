import { execFile } from 'node:child_process';
import { appendFile, cp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import type { NewAlert } from '../../src/alerts/alert.js';
import { AlertBook } from '../../src/alerts/book.js';
import { createLog } from '../../src/base/log.js';
import { Webhook } from '../../src/webhook/webhook.js';
import { Receiver } from '../support/receiver.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';

/** Alerts and their webhooks on a disk that is full for a while. */

const run = promisify(execFile);
const log = createLog('silent');
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function smallDisk(size: string): Promise<string> {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'tmpfs', path]);
  closing.push(() => run('umount', [path]));
  return path;
}

/** Takes all room but so much. */
async function fill(directory: string, leftKiB = 0): Promise<void> {
  const { stdout } = await run('df', ['--output=avail', '-k', directory]);
  const kib = Number(stdout.split('\n')[1]) - leftKiB;
  await writeFile(join(directory, 'other'), Buffer.alloc(kib << 10, 1));
}

const alertOf = (title: string, length = 1000): NewAlert => ({
  severity: 'HIGH',
  title,
  message: 'x'.repeat(length),
  source: `rule:${title}`,
  rule: title,
  session: null,
  time: null,
  tracker: 'exec',
  process: { pid: 7, comm: 'sh' },
  container: null,
  key: null,
});

async function open(directory: string, receiver: Receiver) {
  const book = await AlertBook.open(directory, { log, retryMs: 20 });
  closing.push(() => book.close());
  const config = {
    name: 'a',
    url: receiver.url,
    template: 'eunomia' as const,
    body: null,
    secret: null,
    headers: {},
    ca: null,
  };
  const webhook = new Webhook({
    config: { ...config, severity: 'INFO', rules: null, sources: null, on: ['raised', 'acknowledged'] },
    book,
    node: { id: 'n', name: 'host-1' },
    version: '1',
    log,
    firstWaitMs: 20,
  });
  closing.push(() => webhook.close());
  return { book, webhook };
}

it('alerts that come while the disk is full are sent, and written as soon as there is room for them, not for all', async () => {
  const directory = await smallDisk('1m');
  const receiver = await Receiver.start();
  closing.push(() => receiver.stop());
  const { book, webhook } = await open(directory, receiver);
  for (let i = 0; i < 250; i++) book.raise(alertOf(`before-${i}`));
  await until('they are sent', () => webhook.stats.pending === 0);

  await receiver.stop();
  await fill(directory);
  for (let i = 0; i < 50; i++) book.raise(alertOf(`full-${i}`));
  const [newest] = book.newest();
  if (!newest) throw new Error('there is no alert');
  await book.change(newest, 'ACKNOWLEDGED', 'ada', null);
  expect(book.problem).toMatch(/cannot be written: ENOSPC.*in memory until it can/);
  await receiver.start();
  await until('they are sent', () => webhook.stats.pending === 0);

  // Less than the file has.
  const other = join(directory, 'other');
  await truncate(other, (await stat(other)).size - (200 << 10));
  await until('they are written', () => book.problem === null);
  const { path: left, remove } = await temporaryDirectory();
  closing.push(remove);
  await cp(directory, left, { recursive: true, filter: (path) => !path.endsWith('other') }); // what a kill -9 leaves
  const sent = receiver.titles();
  expect(sent).toHaveLength(301);
  expect(new Set(receiver.taken.map(({ headers }) => headers['idempotency-key'])).size).toBe(301);

  const again = await open(left, receiver);
  expect(again.book.list(1000, () => true)).toEqual(book.list(1000, () => true));
  again.book.raise(alertOf('after'));
  await until('the next one is sent', () => receiver.titles().includes('after'));
  expect(receiver.titles()).toEqual([...sent, 'after']);
});

it('a file of alerts that has no room to be made shorter goes on as it is', async () => {
  const directory = await smallDisk('6m');
  const receiver = await Receiver.start();
  closing.push(() => receiver.stop());
  const { book } = await open(directory, receiver);
  await book.setPlace('x', -1); // a file of its own, which is short
  for (let i = 0; i < 220; i++) book.raise(alertOf(`one-${i}`, 20_000));
  await book.setPlace('x', 0);
  await fill(directory, 300);
  for (let i = 0; i < 5; i++) book.raise(alertOf(`two-${i}`, 20_000));
  await book.setPlace('x', 1);
  expect(book.problem).toBeNull();
});

it('a file with a damaged line is used also where there is no room to keep that beside', async () => {
  const directory = await smallDisk('1m');
  const receiver = await Receiver.start();
  closing.push(() => receiver.stop());
  const first = await AlertBook.open(directory, { log });
  for (let i = 0; i < 250; i++) first.raise(alertOf(`before-${i}`));
  await first.close();
  await appendFile(join(directory, 'alerts.ndjson'), '{ this is no record }\n');
  await fill(directory, 100);
  const { book } = await open(directory, receiver);
  expect(book.size).toBe(250);
  book.raise(alertOf('after'));
  await book.written();
  expect(book.problem).toBeNull();
  await book.close();
  await rm(join(directory, 'other'));
  const again = await AlertBook.open(directory, { log });
  closing.push(() => again.close());
  expect([again.size, again.problem]).toEqual([251, null]);
  expect(await stat(join(directory, 'alerts.ndjson.damaged'))).toBeDefined();
});
