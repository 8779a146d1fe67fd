import { afterEach, describe, expect, it } from 'vitest';
import { createContainer } from '../../src/containers/container.js';
import { RecordBatch } from '../../src/pipeline/batch.js';
import { RowBatch } from '../../src/pipeline/row.js';
import { compileView } from '../../src/pipeline/view.js';
import { filterOf } from '../../src/filter/index.js';
import open from '../../src/trackers/open.js';
import { batchAt, layoutOf, packed, recordOf } from '../support/record.js';
import { end, everything, fields, openStore, record, slicesOf, temporaryDirectory } from '../support/store.js';
import type { DuckStore } from '../../src/consumers/store/duckdb/index.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function directory(): Promise<string> {
  const { path, remove } = await temporaryDirectory();
  closing.push(remove);
  return path;
}

function opened(path: string, options: Parameters<typeof openStore>[1] = {}): DuckStore {
  const store = openStore(path, options);
  closing.push(() => store.close());
  return store;
}

const pageOf = (session: string, more: object = {}) => ({ ...everything(['exit']), session, fromSeq: 0, toSeq: null, limit: 100, backwards: false, ...more });

describe('the embedded store', () => {
  it('answers the events of a session in pages, also after it was opened anew', async () => {
    const path = await directory();
    const store = opened(path);
    const sink = await store.record(record('a', ['exit']));
    await sink.write(slicesOf([batchAt(0, 300), batchAt(300, 200)]), null);
    await sink.finish(end);
    await store.close();
    const again = opened(path);
    const page = await again.page(pageOf('a', { fromSeq: 250 }));
    expect(page.events.map(({ place }) => place.seq)).toEqual(Array.from({ length: 100 }, (_, i) => 250 + i));
    expect(page).toMatchObject({ hasNext: true, hasPrevious: true });
    expect(page.events[0]?.event).toEqual(expect.objectContaining({ tracker: 'exit', __typename: 'ExitEvent', bootNs: '250', time: '1970-01-01T00:00:00.000000250Z' }));
    const last = await again.page(pageOf('a', { limit: 3, backwards: true }));
    expect(last.events.map(({ place }) => place.seq)).toEqual([497, 498, 499]);
    expect(await again.sessions()).toMatchObject([{ id: 'a', state: 'STOPPED', stopReason: 'REQUESTED', events: 500, nextSeq: 500 }]);
  });

  it('gives each field back as the record had it', async () => {
    const layout = layoutOf('open');
    const container = { ...createContainer('c'.repeat(64), 'docker'), name: 'web', labels: { tier: 'front' } };
    const context = { views: [compileView(open, layout)], containerAt: (view: DataView, at: number) => (view.getUint32(at + 24, true) % 2 ? container : null) };
    const records = ['/etc/hosts', '/a/rather/long/path/that/does/not/fit/inline', '', 'ä/ö', '\uFFFD'].map((text, i) => {
      const bytes = Buffer.from(text);
      const word = text === '' ? 0 : (bytes.length << 16) | layout.size;
      return recordOf(layout, { bootNs: 10n ** 15n + BigInt(i), cgroupId: 2n ** 40n, startBootNs: 77, pid: 10 + i, uid: 2 ** 32 - 1, mountNs: i, comm: Buffer.from('nginx\0'), errno: i === 1 ? -2 : 0, fd: i === 1 ? -2 : i, flags: 0o101, mode: 0o644, path: word }, bytes);
    });
    const { data, offsets } = packed(records);
    const batch = new RecordBatch(data, offsets, context, { clock: { seconds: 1_769_847_330, nanoseconds: 999_999_999 }, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 });
    const store = opened(await directory());
    const sink = await store.record(record('a', ['open']));
    await sink.write(slicesOf([batch, new RowBatch(Array.from({ length: batch.count }, (_, i) => plain(batch.event(i))) as never, { ...batch, clock: batch.clock, seq: batch.count, lost: 0, lostFrom: 0, lostTo: 0 })]), null);
    await sink.flush();
    const { events } = await store.page({ ...pageOf('a'), trackers: ['open'] });
    const wanted = Array.from({ length: batch.count }, (_, i) => plain(batch.event(i)));
    expect(events.map(({ event }) => event)).toEqual([...wanted, ...wanted]);
  });

  it('judges what SQL cannot by the filter, and the rest in SQL', async () => {
    const store = opened(await directory());
    const sink = await store.record(record('a', ['exit']));
    await sink.write(slicesOf([batchAt(0, 5000)]), null);
    await sink.flush();
    const filter = filterOf({ and: [{ process: { pid: { gte: 100 } } }, { not: { exit: { signal: { glob: 'SIG*' } } } }, { bootNs: { lt: '4000' } }] }, fields, ['exit']);
    const page = await store.page(pageOf('a', { filter, limit: 2000, fromSeq: 3000 }));
    expect(page.events.map(({ place }) => place.seq)).toEqual(Array.from({ length: 1000 }, (_, i) => 3000 + i));
    expect(page.hasNext).toBe(false);
  });
});

function plain(event: object): Record<string, unknown> {
  const names = ['__typename', 'tracker', 'time', 'bootNs', 'cgroupId', 'container', 'errno', 'fd', 'path', 'resolved', 'flags', 'mode'];
  const { pid, tid, ppid, uid, gid, comm, startTime, mountNs } = Reflect.get(event, 'process') as Record<string, unknown>;
  return { ...Object.fromEntries(names.map((name) => [name, Reflect.get(event, name) as unknown])), process: { pid, tid, ppid, uid, gid, comm, startTime, mountNs } };
}
