import { afterEach, describe, expect, it } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { FilterFields } from '../filter/index.js';
import { batchAt } from '../../test/support/record.js';
import { until } from '../../test/support/until.js';
import { Calls } from './calls.js';
import type { Part } from './input.js';
import { compileSource } from './source.js';
import { defaultLimits, PluginThread } from './thread.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), () => false);
const vocabulary = { catalog, fields: new FilterFields(schema, catalog) };

const threads: PluginThread[] = [];
afterEach(async () => {
  for (const thread of threads.splice(0)) await thread.end();
});

/** Calls of a real thread, whose plugin does this with each event. */
async function callsOf(body: string) {
  const source = `import { definePlugin } from 'eunomia/plugin';
export default definePlugin({ name: 'p', version: '1', summary: 'A test.', reads: { exit: ['process.pid'] }, every: 3600000,
  onBatch(events, context) { for (const { process } of events) { ${body} } },
  onInterval(context) { context.emit('interval', {}); } });`;
  const limits = { ...defaultLimits.TRUSTED, callMs: 200 };
  const { thread, facts } = await PluginThread.load(await compileSource('p.ts', source), 'TRUSTED', limits, vocabulary);
  threads.push(thread);
  await thread.call('start', { facts, options: {}, session: { id: 's', name: null }, trackers: ['exit'] });
  const done: [from: number | null, results: string[], error: string | null][] = [];
  let changes = 0;
  const calls = new Calls(
    thread,
    ({ outcome, error }, part) =>
      done.push([part && part.batch.seq, outcome.results.map(({ json }) => json), error && error.message]),
    () => changes++,
  );
  return { calls, done, changes: () => changes };
}

function part(seq: number, count = 1): Part {
  return { batch: batchAt(seq, count), from: 0, to: count, gap: null };
}

describe('the calls of a plugin', () => {
  it('are made in their order, two at once', async () => {
    const { calls, done, changes } = await callsOf('context.emit("pid", { pid: process.pid });');
    calls.batch(part(5, 2));
    expect([calls.isIdle, calls.isFull]).toEqual([false, false]);
    calls.interval();
    expect(calls.isFull).toBe(true);
    await until('both have returned', () => calls.isIdle);
    expect(done).toEqual([
      [5, ['{"pid":5}', '{"pid":6}'], null],
      [null, ['{}'], null],
    ]);
    expect([changes(), calls.died]).toEqual([2, null]);
  });

  it('end with the tenth failure in a row', async () => {
    const { calls, done } = await callsOf('if (process.pid !== 3) throw new Error("no");');
    for (let i = 0; i < 13; i++) {
      expect(calls.died).toBe(null);
      calls.batch(part(i));
      await until('it has returned', () => calls.isIdle);
    }
    // Three, one that did not fail, and nine.
    calls.batch(part(13));
    await until('it has returned', () => calls.isIdle);
    expect(done.map(([, , error]) => error).filter((error) => error === null)).toHaveLength(1);
    expect(calls.died?.plugin.message).toMatch(/^10 calls in a row failed, the last with: .*no$/);
  });

  it('that end their thread are told apart from those behind, which had not begun', async () => {
    const { calls, done, changes } = await callsOf('if (process.pid === 1) for (;;);');
    const [victim, behind] = [part(1), part(2)];
    calls.batch(victim);
    calls.batch(behind);
    await until('the thread has ended', () => changes() === 2);
    expect(calls.died?.plugin.message).toContain('did not end within 200 ms');
    expect(calls.abandon()).toEqual({ victim, behind: [behind] });
    expect([calls.isIdle, done]).toEqual([true, []]);
  });
});
