import { afterAll, beforeAll, expect, it } from 'vitest';
import { plainOutput } from '../../src/cli/output.js';
import { runProgram } from '../../src/cli/program.js';
import type { DuckStore } from '../../src/storage/duckdb/index.js';
import { nobody } from '../support/program.js';
import { batchAt } from '../support/record.js';
import { end, openStore, record, slicesOf, temporaryDirectory } from '../support/store.js';
import { createFixture, createServer, post } from './support.js';
import { exits } from './updating.js';

// `eunomia history`, of a session with 250 events of `exit`, one each nanosecond, before which some were lost.

const RANGE = ['--from', '1970-01-01T00:00:00Z', '--to', '1970-01-02T00:00:00Z'];
let store: DuckStore;
let url: string;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  const { services } = await createFixture();
  const { path, remove } = await temporaryDirectory();
  store = openStore(path);
  const sink = await store.record(record('stored', ['exit']));
  await sink.write(slicesOf([batchAt(0, 250)]), {
    from: '1970-01-01T00:00:00.000000000Z',
    to: '1970-01-01T00:00:00.000000001Z',
    lost: 7,
    dropped: 0,
    where: 'KERNEL',
  });
  await sink.finish({ ...end, lost: 7, received: 250 });
  const server = await createServer({ ...services, stores: new Map([['EMBEDDED', store]]) });
  closing.push(
    remove,
    () => store.close(),
    () => server.close(),
  );
  ({ url } = server);
});
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

/** `signal`: Ctrl-C. `heard`: called with all that was told until now. */
async function eunomia(args: readonly string[], { signal = nobody.signal, heard = (_told: string) => {} } = {}) {
  let [out, told] = ['', ''];
  const code = await runProgram([...args, '--server', url], '1', {
    ...nobody,
    output: plainOutput(async (text) => {
      out += text;
      return true;
    }),
    tell: (line) => heard((told += `${line}\n`)),
    signal,
  });
  return { code, told, out };
}
const history = (...args: readonly string[]) => eunomia(['history', ...args]);

const numbersOf = (csv: string): readonly number[] => csv.trim().split('\r\n').slice(1).map(Number);

it('prints the newest events, oldest first, as many as are asked for', async () => {
  const few = await history(...RANGE, '-n', '3', '-f', 'bootNs', '-o', 'csv');
  expect(few).toMatchObject({ code: 0, told: 'the newest 3 events; -n shows more\n' });
  expect(numbersOf(few.out)).toEqual([247, 248, 249]);
  const usual = await history(...RANGE, '-f', 'bootNs', '-o', 'csv');
  expect(numbersOf(usual.out)).toEqual(Array.from({ length: 100 }, (_, i) => 150 + i));
});

it('goes through pages, and tells what is missing', async () => {
  const all = await history(...RANGE, '-n', '1000', '-f', 'bootNs', '-o', 'csv');
  expect(numbersOf(all.out)).toEqual(Array.from({ length: 250 }, (_, i) => i));
  expect(all.told).toMatch(/^gap: 7 lost in the kernel, 0 dropped, .*\n250 events\n$/);
  const json = await history(...RANGE, '-n', '1000', '-f', 'bootNs', '-o', 'json', '--gaps');
  const lines = json.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { gap?: { lost: string } });
  expect([lines.length, lines.find(({ gap }) => gap)?.gap?.lost]).toEqual([251, '7']);
});

it('prints a line for each event, as run does', async () => {
  const { out } = await history(...RANGE, '-n', '2');
  expect(out.split('\n').map((line) => line.slice(0, 12))).toEqual([
    'TIME (UTC)  ',
    '00:00:00.000',
    '00:00:00.000',
    '',
  ]);
});

it.each([
  [['--session', 'stored'], 100],
  [['--tracker', 'exit'], 100],
  [['--where', 'bootNs < 10u && pid >= 5'], 5],
  [['--tracker', 'exec'], 0],
  [['-c', 'nobody-has-this-name'], 0],
])('prints only what matches %j', async (flags, count) => {
  const { out, code } = await history(...RANGE, ...flags, '-f', 'bootNs', '-o', 'csv');
  expect({ code, count: numbersOf(out).length }).toEqual({ code: 0, count });
});

it('counts', async () => {
  const { out, told } = await history(...RANGE, '--where', 'bootNs < 3u', '--count-by', 'tracker,pid');
  expect(out.split('\n').map((line) => line.trim().split(/ +/))).toEqual([
    ['count', 'tracker', 'pid'],
    ...['0', '1', '2'].map((pid) => ['1', 'exit', pid]),
    [''],
  ]);
  expect(told).toBe('');
});

it.each([
  [['--count-by', 'tracker', '-f', 'bootNs'], '--fields: is of events'],
  [['--from', 'noon'], '--from: "noon" is neither a time'],
  [['--where', 'bootNs <'], '--where: '],
  [[...RANGE, '--count-by', 'nosuch'], 'nosuch'],
  [['--store', 'influx'], 'influx'],
])('refuses %j in words', async (args, message) => {
  expect(await history(...RANGE, ...args)).toMatchObject({
    code: expect.toSatisfy((code: number) => code > 0) as number,
    told: expect.stringContaining(message) as string,
  });
});

it('what run --persist has printed is stored, and it says how much; without the flag nothing is', async () => {
  const { path, remove } = await temporaryDirectory();
  const fixture = await createFixture({ dataDirectory: path });
  const { services } = fixture;
  const server = await createServer(services);
  closing.push(
    remove,
    () => Promise.all([...services.stores.values()].map((each) => each.close())),
    () => services.manager.close(),
    () => server.close(),
  );
  ({ url } = server);
  let next = 0;
  const ran = async (...flags: readonly string[]) => {
    let begun = false;
    const { code, told, out } = await eunomia(['run', 'exit', '-f', 'bootNs', '-o', 'csv', '-n', '5', ...flags], {
      heard: (text) => {
        if (begun || !text.includes('tracing')) return;
        begun = true;
        exits(fixture, next, 5);
        next += 5;
      },
    });
    expect(code).toBe(0);
    return { id: /session (\w+):/.exec(told)?.[1] ?? '', told, printed: numbersOf(out) };
  };
  const kept = await ran('--persist');
  expect(kept).toMatchObject({
    printed: [0, 1, 2, 3, 4],
    told: expect.stringContaining('\nstored: 5 events\n') as string,
  });
  const removed = await ran();
  expect(removed).toMatchObject({
    printed: [5, 6, 7, 8, 9],
    told: expect.not.stringContaining('stored') as string,
  });
  const { out } = await eunomia(['sessions']);
  expect(out).toMatch(new RegExp(`^${kept.id} .*stopped +exit`, 'm'));
  expect(out).not.toContain(removed.id);
  const { json } = await post(url, {
    query: `{ session(id: "${kept.id}") { persistence { state written pending dropped problem } } }`,
  });
  const persistence = { state: 'DONE', written: '5', pending: '0', dropped: '0', problem: null };
  expect(json).toEqual({ data: { session: { persistence } } });
  const stored = await history('--from', '2026-01-31T00:00:00Z', '-f', 'bootNs', '-o', 'csv');
  expect(numbersOf(stored.out)).toEqual(kept.printed);
});

it.each([
  [['--persist'], '--persist: is of a server'],
  [['--plugin', 'x'], '--plugin: is of a server'],
])('run without a server refuses %j', async (flags, message) => {
  let told = '';
  const code = await runProgram(['run', 'exit', ...flags], '1', { ...nobody, tell: (line) => (told += line) });
  expect([code, told]).toEqual([2, expect.stringContaining(message)]);
});

it.each([
  [['--where', 'x=='], '--where: 1:4: '],
  [['--where', 'nope == 1'], 'has the field "nope"'],
  [['--count-by', 'nope'], '--count-by: no field "nope" in exit'],
  [['--fields', 'nope'], '--fields: no field "nope" in exit'],
])('%j is refused also where nothing is stored', async (args, told) => {
  const nothing = await history('--from', '2h', '--tracker', 'exit', ...args);
  expect(nothing).toMatchObject({ code: 2, out: '', told: expect.stringContaining(told) });
});

it('what is stored of no event has a header all the same', async () => {
  expect(await history('--from', '2h', '-f', 'time,pid', '-o', 'csv')).toEqual({
    code: 0,
    out: 'time,process.pid\r\n',
    told: '0 events\n',
  });
});
