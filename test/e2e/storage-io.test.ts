import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Row {
  readonly key: readonly { readonly value: string | null }[];
  readonly count: string;
  readonly values: readonly {
    readonly name: string;
    readonly unit: string | null;
    readonly text: string | null;
    readonly buckets: readonly { readonly from: number; readonly to: number; readonly count: string }[] | null;
  }[];
}

/** What two containers do, of which one is targeted, by one of the trackers. */
async function observed(tracker: string, groupBy: string, measures: string) {
  const server = await startServer(['--engine', docker.socket]);
  for (const name of ['aside', 'watched'])
    await docker.run('-d', '--name', `${name}-${tracker}`, TEST_IMAGE, 'sleep', '600');
  const session = await startSession(
    server,
    `{ trackers: [{ ${tracker}: {} }], target: { containers: [{ name: "watched*" }] } }`,
  );
  for (const name of ['aside', 'watched'])
    await docker.docker(
      'exec',
      `${name}-${tracker}`,
      'sh',
      '-c',
      'dd if=/dev/zero of=/root/data bs=4096 count=50 conv=fsync 2>/dev/null && dd if=/root/data of=/dev/null bs=4096 2>/dev/null',
    );
  await stopSession(server, session);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const { session: found } = await server.query<{ session: { aggregate: readonly Row[] } }>(
    `query ($id: ID!) { session(id: $id) { aggregate(groupBy: ["container.name", "process.comm", ${groupBy}], measures: ${measures}) {
      key { value } count values { name unit text buckets { from to count } } } } }`,
    { id: session },
  );
  return found.aggregate.map(({ key, count, values }) => ({
    key: key.map(({ value }) => value),
    count: Number(count),
    values: Object.fromEntries(values.map((value) => [value.name, value])),
  }));
}

it('fileio sums what a container reads and writes by file, with histograms and units', async () => {
  const rows = await observed(
    'fileio',
    '"path"',
    `[{ fn: SUM, field: "writtenBytes", name: "written" }, { fn: SUM, field: "readBytes", name: "read" },
      { fn: HISTOGRAM, field: "writeNs", name: "times" }]`,
  );
  expect(new Set(rows.map(({ key: [container] }) => container))).toEqual(new Set(['watched-fileio']));
  const [data] = rows.filter(({ key }) => key[1] === 'dd' && key[2] === '/root/data');
  expect(data?.values['written']).toMatchObject({ text: String(50 * 4096), unit: 'BYTES' });
  expect(data?.values['read']).toMatchObject({ text: String(50 * 4096), unit: 'BYTES' });
  const times = data?.values['times'];
  expect(times?.unit).toBe('NANOSECONDS');
  expect(times?.buckets?.reduce((sum, { count }) => sum + Number(count), 0)).toBe(50);
});

it('blockcount says how much a container writes to a disk', async () => {
  const rows = await observed(
    'blockcount',
    '"blockOperation"',
    '[{ fn: SUM, field: "bytes", name: "bytes" }, { fn: HISTOGRAM, field: "deviceNs", name: "device" }]',
  );
  expect(new Set(rows.map(({ key: [container] }) => container))).toEqual(new Set(['watched-blockcount']));
  const [written] = rows.filter(({ key }) => key[1] === 'dd' && key[2] === 'WRITE');
  // The file's own bytes, and blocks of the file system's journal that the process writes for it.
  expect(Number(written?.values['bytes']?.text)).toBeGreaterThanOrEqual(50 * 4096);
  expect(written?.values['bytes']?.unit).toBe('BYTES');
  expect(written?.values['device']?.buckets?.reduce((sum, { count }) => sum + Number(count), 0)).toBe(written?.count);
});
