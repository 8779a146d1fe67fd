import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPlugins, found, pluginSource, type PluginHarness } from '../support/plugin.js';
import { harness } from '../support/session.js';
import { specOf } from '../support/spec.js';
import { until } from '../support/until.js';

const run = promisify(execFile);
let plugins: PluginHarness;

beforeAll(async () => {
  plugins = await createPlugins(await harness());
});
afterAll(() => plugins.close());

async function execSession() {
  const { manager } = await harness();
  return manager.start(
    specOf([{ name: 'exec', options: { failed: false } }], {}, { pids: [process.pid], descendants: true }),
  );
}

const listing = `onBatch(events, context) {
  for (const event of events) context.emit('exec', {
    pid: event.process.pid, comm: event.process.comm, args: event.args, container: event.container, tracker: event.tracker });
},
onStop(context) { context.emit('end', { session: context.session.id }); },`;

describe.each(['TRUSTED', 'SANDBOX'] as const)('a %s plugin', (engine) => {
  const name = `list-${engine.toLowerCase()}`;

  it('sees each event of its session, with the fields that it reads', async () => {
    const source = pluginSource(name, listing);
    if (engine === 'TRUSTED') await plugins.trust(`${name}.ts`, source);
    else await plugins.host.upload(`${name}.ts`, source, false);
    const session = await execSession();
    const attachment = plugins.host.attach(session, { name, options: null, restart: 'NEVER' }, true);
    for (let i = 0; i < 20; i++) await run('/bin/true', [`number-${i}`]);
    await session.stop('REQUESTED');
    await plugins.host.settled(session.id);
    expect(attachment).toMatchObject({ state: 'STOPPED', problem: null, errors: [] });
    const results = found(attachment);
    expect(results.pop()).toEqual({ session: session.id });
    expect(results.map(({ args }) => args)).toEqual(Array.from({ length: 20 }, (_, i) => ['/bin/true', `number-${i}`]));
    expect(results[0]).toMatchObject({ comm: 'true', container: null, tracker: 'exec', pid: expect.any(Number) });
    expect(attachment.counts.events).toBe(20);
  });
});

it('is replaced by its edited file between two batches: each event is seen once, by the old code or the new', async () => {
  const body =
    'onBatch(events, context) { for (const { args } of events) context.emit("seen", { by: VERSION, number: Number(args[1]) }); },';
  const source = (version: number): string => pluginSource('edited', body.replace('VERSION', String(version)));
  await plugins.trust('edited.ts', source(1));
  const session = await execSession();
  const attachment = plugins.host.attach(session, { name: 'edited', options: null, restart: 'NEVER' }, true);
  let sent = 0;
  const send = async (): Promise<unknown> => run('/bin/true', [String(sent++)]);
  for (let i = 0; i < 10; i++) await send();
  for (const version of [2, 3]) {
    await writeFile(join(plugins.directory, 'edited.ts'), source(version));
    while (attachment.counts.reloads < version - 1) await send();
    for (let i = 0; i < 10; i++) await send();
  }
  await session.stop('REQUESTED');
  await plugins.host.settled(session.id);
  const results = found(attachment);
  expect(results.map(({ number }) => number).sort((a, b) => Number(a) - Number(b))).toEqual(
    Array.from({ length: sent }, (_, i) => i),
  );
  const versions = results.map(({ by }) => by);
  expect(versions).toEqual([...versions].sort());
  expect(new Set(versions)).toEqual(new Set([1, 2, 3]));
});

it('goes on with the old code when the new has an error, and tells which line', async () => {
  await plugins.trust(
    'broken.ts',
    pluginSource('broken', 'onBatch(events, context) { context.emit("n", { n: events.length }); },'),
  );
  await writeFile(
    join(plugins.directory, 'broken.ts'),
    'import { definePlugin } from "eunomia/plugin";\n\nexport default definePlugin({ name: ;\n',
  );
  // The file may have been read while it was being written: its problem is another one then, for a moment.
  await until('the problem', () => /broken\.ts:3: Unexpected token/.test(plugins.host.get('broken')?.problem ?? ''));
  expect(plugins.host.get('broken')?.facts.version).toBe('1');
});

it('tells file and line of what a hook throws, and is stopped after ten failures in a row', async () => {
  await plugins.host.upload(
    'thrower.ts',
    pluginSource(
      'thrower',
      'onBatch(events: readonly object[]) {\n\n  const none: null = null;\n  (none as unknown as { x(): void }).x();\n},',
    ),
    false,
  );
  const session = await execSession();
  const attachment = plugins.host.attach(session, { name: 'thrower', options: null, restart: 'NEVER' }, true);
  for (let i = 0; attachment.state !== 'FAILED' && i < 200; i++) await run('/bin/true');
  await attachment.done;
  expect(attachment.state).toBe('FAILED');
  expect(attachment.problem).toMatch(/^thrower\.ts:6: 10 calls in a row failed/);
  expect(attachment.errors[0]).toMatchObject({ at: 'thrower.ts:6', message: expect.stringContaining('TypeError') });
  expect(attachment.counts.failed).toBeGreaterThanOrEqual(10);
});

it('is started again after a failure when it was asked for, behind the events that it failed on', async () => {
  const body =
    'onBatch(events, context) { for (const { args } of events) { if (args[1] === "bad") for (;;); context.emit("ok", { n: args[1] }); } },';
  await plugins.host.upload('again.ts', pluginSource('again', body), false);
  const session = await execSession();
  const attachment = plugins.host.attach(session, { name: 'again', options: null, restart: 'ON_FAILURE' }, true);
  await run('/bin/true', ['1']);
  await until('the first', () => found(attachment).length === 1);
  await run('/bin/true', ['bad']);
  await until('the failure', () => attachment.state === 'BACKOFF');
  expect(attachment.problem).toMatch(/again\.ts:3: did not end within/);
  await run('/bin/true', ['2']);
  await until('the second', () => found(attachment).length === 2);
  expect(attachment).toMatchObject({ state: 'RUNNING', problem: null, counts: { restarts: 1, failed: 1 } });
  await plugins.host.detach(session.id, 'again');
  expect(attachment.state).toBe('STOPPED');
  const work = () => plugins.host.work().find(({ plugin }) => plugin === 'again');
  expect(work()).toMatchObject({
    counts: { events: 2, failed: 1, failures: 1, restarts: 1, dropped: 0, busyMs: attachment.counts.busyMs },
    queued: 0,
    states: { STOPPED: 1 },
  });
  expect(attachment.counts.busyMs).toBeGreaterThan(0);
  // Attached once more, it goes on counting where it was.
  plugins.host.attach(session, { name: 'again', options: null, restart: 'NEVER' }, false);
  await run('/bin/true', ['3']);
  await until('the third', () => work()?.counts.events === 3);
  await plugins.host.detach(session.id, 'again');
  expect(work()).toMatchObject({ counts: { events: 3, failures: 1, restarts: 1 }, states: { STOPPED: 1 } });
});

it('raises alerts with the facts of their event, once a key', async () => {
  const body =
    "onBatch(events, context) { for (const event of events) context.alert({ severity: 'HIGH', title: 'ran', " +
    "message: event.args.join(' '), event, key: 'k' }); },";
  await plugins.host.upload('alerter.ts', pluginSource('alerter', body), false);
  const session = await execSession();
  plugins.host.attach(session, { name: 'alerter', options: null, restart: 'NEVER' }, true);
  for (const text of ['a', 'b']) await run('/bin/true', [text]);
  await session.stop('REQUESTED');
  await plugins.host.settled(session.id);
  const alerts = plugins.alerts.list(10, (alert) => alert.session === session.id);
  expect(alerts).toMatchObject([
    {
      severity: 'HIGH',
      message: '/bin/true a',
      source: 'plugin:alerter',
      count: 2,
      tracker: 'exec',
      process: { comm: 'true', uid: 0, ppid: process.pid },
      container: null,
    },
  ]);
  expect(Date.parse(alerts[0]?.time ?? '')).toBeGreaterThan(Date.now() - 60_000);
});

it('that failed goes on where it was when its new code is loaded', async () => {
  const body = (what: string): string =>
    `onBatch(events, context) { for (const { args } of events) { ${what} context.emit('n', { n: args[1] }); } },`;
  await plugins.host.upload('mended.ts', pluginSource('mended', body('if (args[1] === "bad") for (;;);')), false);
  const session = await execSession();
  const attachment = plugins.host.attach(session, { name: 'mended', options: null, restart: 'NEVER' }, true);
  await run('/bin/true', ['1']);
  await until('the first', () => found(attachment).length === 1);
  await run('/bin/true', ['bad']);
  await until('the failure', () => attachment.state === 'FAILED');
  await run('/bin/true', ['2']);
  await plugins.host.upload('mended.ts', pluginSource('mended', body('')), true);
  await until('the second', () => found(attachment).length === 2);
  expect(found(attachment).map(({ n }) => n)).toEqual(['1', '2']);
});
