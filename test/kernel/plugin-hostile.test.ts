import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Attachment } from '../../src/plugins/index.js';
import { createPlugins, found, pluginSource, type PluginHarness } from '../support/plugin.js';
import { harness } from '../support/session.js';
import { specOf } from '../support/spec.js';
import { work, workloadPath } from '../support/workload.js';

let plugins: PluginHarness;
/** With the limits of a server: what only speaks much is not to be ended on a machine that is busy. */
let patient: PluginHarness;
let number = 0;

/** What never ends is ended soon: at a server's limits, it would work for ten seconds. */
const strict = { callMs: 300, loadMs: 1000 };
const limits = { TRUSTED: { ...strict, memoryBytes: 64 << 20 }, SANDBOX: { ...strict, memoryBytes: 32 << 20 } };

beforeAll(async () => {
  plugins = await createPlugins(await harness(), { limits });
  patient = await createPlugins(await harness());
  await workloadPath();
});
afterAll(() => Promise.all([plugins.close(), patient.close()]));

const EVENTS = 20_000;
const READS = "{ open: ['path', 'process.pid'] }";
const source = (name: string, body: string): string => pluginSource(name, body, READS);

type Engine = 'TRUSTED' | 'SANDBOX';

async function load(engine: Engine, body: string, plugins: PluginHarness): Promise<string> {
  const name = `hostile-${++number}`;
  if (engine === 'TRUSTED') await plugins.trust(`${name}.ts`, source(name, body));
  else await plugins.host.upload(`${name}.ts`, source(name, body), false);
  return name;
}

/** Runs the plugin on a burst, beside another session whose reader must get every event. */
async function beside(engine: Engine, body: string, on = plugins): Promise<Attachment> {
  const name = await load(engine, body, on);
  const { manager } = await harness();
  const spec = { bufferBytes: 256 << 20, ringBytes: 16 << 20 };
  const target = { pids: [process.pid], comms: ['workload'] };
  const [theirs, other] = await Promise.all([
    manager.start(specOf([{ name: 'open', options: {} }], spec, target)),
    manager.start(specOf([{ name: 'open', options: {} }], { ...spec, capture: 'ALL' }, target)),
  ]);
  let seen = 0;
  const reading = (async () => {
    for await (const { events } of other.subscribe({ demand: new Map() }))
      seen += events.filter((event) => Reflect.get(event, 'path') === '/no/burst').length;
  })();
  const attachment = on.host.attach(theirs, { name, options: null, restart: 'NEVER' }, true);
  await work('burst', '/no/burst', EVENTS, 1);
  await Promise.all([theirs.stop('REQUESTED'), other.stop('REQUESTED')]);
  await reading;
  await on.host.settled(theirs.id);
  const stats = await other.stats();
  expect(stats).toMatchObject({ lost: 0, dropped: 0, queued: 0 });
  expect(seen).toBe(EVENTS);
  expect((await theirs.stats()).lost).toBe(0);
  await Promise.all([manager.remove(theirs.id), manager.remove(other.id)]);
  return attachment;
}

describe.each(['TRUSTED', 'SANDBOX'] as const)('a hostile %s plugin', (engine) => {
  it('that loops for ever on an event is ended, and nobody else loses one', async () => {
    const attachment = await beside(engine, 'onBatch() { for (;;); },');
    expect(attachment).toMatchObject({
      state: 'FAILED',
      problem: expect.stringContaining('did not end within 300 ms of processor time'),
    });
  });

  it('that fills its memory is ended', async () => {
    const attachment = await beside(
      engine,
      'onBatch() { const all: unknown[] = []; for (;;) all.push(new Array(200_000).fill(all.length)); },',
    );
    expect(attachment).toMatchObject({ state: 'FAILED', problem: expect.stringMatching(/memory|did not end/) });
  });

  it('that calls itself without end throws, and no more', async () => {
    const attachment = await beside(engine, 'onBatch() { const f = (n: number): number => f(n + 1) + 1; f(0); },');
    expect(attachment.errors[0]?.message).toMatch(/stack/);
  });

  it('that floods its output is cut short, and what was left out is counted', async () => {
    const attachment = await beside(
      engine,
      'onBatch(events, context) { for (const event of events) { context.emit("e", { path: event.path }); ' +
        'context.log("x"); context.alert({ severity: "LOW", title: "t", message: "m", event }); } },',
      patient,
    );
    expect(attachment).toMatchObject({ state: 'STOPPED', problem: null });
    expect(attachment.counts.events).toBeGreaterThanOrEqual(EVENTS);
    expect(attachment.counts.suppressed).toBeGreaterThan(EVENTS);
    expect(attachment.results.count).toBeLessThan(EVENTS / 2);
  });

  it('that returns a promise is told not to', async () => {
    const attachment = await beside(engine, 'async onBatch() {},');
    expect(attachment.errors[0]?.message).toMatch(/must not be async/);
  });

  it.each([
    ['loops for ever', 'for (;;);', /did not end within/],
    ['throws', '\n\nthrow new Error("no");', /:4: Error: no/],
    ['imports another module', 'import fs from "fs"; fs.readFileSync("/etc/passwd");', /cannot import "fs"/],
    ['requires one', 'require("child_process");', /cannot import "child_process"/],
    ['is no JavaScript', 'const a = ;', /:2: .*Unexpected token/],
    [
      'fills its memory',
      'const all: unknown[] = []; for (;;) all.push(new Array(1000).fill(all.length));',
      /memory|did not end/,
    ],
  ])('that %s while it is loaded is refused', async (_what, code, message) => {
    const text = source(`hostile-load-${++number}`, 'onBatch() {},').replace('\n', `\n${code}\n`);
    if (engine === 'SANDBOX') return expect(plugins.host.upload('bad.ts', text, false)).rejects.toThrow(message);
    const directory = await mkdtemp(join(tmpdir(), 'eunomia-plugins-'));
    try {
      await writeFile(join(directory, 'bad.ts'), text);
      await expect(createPlugins(await harness(), { directory, limits })).rejects.toThrow(message);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

it('a trusted plugin that is kept waiting for longer than its limit, and works less, is not ended', async () => {
  const name = await load(
    'TRUSTED',
    `onBatch() { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 900); },`,
    plugins,
  );
  const { manager } = await harness();
  const session = await manager.start(
    specOf([{ name: 'open', options: {} }], {}, { pids: [process.pid], comms: ['workload'] }),
  );
  const attachment = plugins.host.attach(session, { name, options: null, restart: 'NEVER' }, true);
  await work('burst', '/no/burst', 10, 1);
  await session.stop('REQUESTED');
  await plugins.host.settled(session.id);
  expect(attachment).toMatchObject({ state: 'STOPPED', problem: null });
  expect(attachment.counts.events).toBeGreaterThanOrEqual(10);
});

it('a trusted plugin has its fields alone, and no way to the bytes behind them', async () => {
  const name = await load(
    'TRUSTED',
    `onBatch(events, context) {
    for (const event of events) {
      if (event.path === '/no/burst') context.emit('own', {
        names: ['batch', 'at', 'e'].filter((name) => Reflect.get(event, name) !== undefined), json: JSON.stringify(event) });
    }
  },`,
    patient,
  );
  const { manager } = await harness();
  const session = await manager.start(
    specOf(
      [{ name: 'open', options: {} }],
      { bufferBytes: 256 << 20, ringBytes: 16 << 20 },
      { pids: [process.pid], comms: ['workload'] },
    ),
  );
  const attachment = patient.host.attach(session, { name, options: null, restart: 'NEVER' }, true);
  let seen = 0;
  const reading = (async () => {
    for await (const { events } of session.subscribe({ demand: new Map() }))
      seen += events.filter((event) => Reflect.get(event, 'path') === '/no/burst').length;
  })();
  await work('burst', '/no/burst', EVENTS, 1);
  await session.stop('REQUESTED');
  await reading;
  await patient.host.settled(session.id);
  const [own] = found(attachment);
  expect(own?.['names']).toEqual([]);
  expect(JSON.parse(String(own?.['json']))).toEqual({
    tracker: 'open',
    path: '/no/burst',
    process: { pid: expect.any(Number) },
  });
  expect(seen).toBe(EVENTS);
  expect([...session.events()].filter((event) => Reflect.get(event, 'path') === '/no/burst')).toHaveLength(EVENTS);
  await manager.remove(session.id);
});

describe('the sandbox', () => {
  const secrets = [
    ['process', 'typeof process'],
    ['require in a function', 'typeof require("eunomia/plugin").constructor("return process")()'],
    [
      'the constructor of a constructor',
      '(() => { try { return typeof (() => {}).constructor.constructor("return process")(); } catch (e) { return e.name; } })()',
    ],
    [
      'globalThis of Node',
      'typeof globalThis.process + typeof globalThis.Buffer + typeof globalThis.fetch + typeof ' +
        'globalThis.WebAssembly + typeof globalThis.setTimeout',
    ],
    [
      'the constructor of the context',
      '(() => { try { return typeof context.emit.constructor("return process")(); } catch (e) { return e.name; } })()',
    ],
    [
      'the constructor of an event',
      '(() => { try { return typeof events[0].constructor.constructor("return process")(); } catch (e) { return e.name; } })()',
    ],
    ['bytes of the event', 'String(events[0].batch) + String(events[0].at) + typeof SharedArrayBuffer'],
  ] as const;
  /** What a plugin gets that asks for each of them, one after the other. */
  let asked: Promise<readonly Record<string, unknown>[]> | null = null;
  const answers = async () => {
    const each = secrets.map(
      ([what, expression]) =>
        `try { value = ${expression}; } catch (error) { value = String(error); } ` +
        `context.emit('got', { what: ${JSON.stringify(what)}, value });`,
    );
    return found(await beside('SANDBOX', `onBatch(events, context) { let value; ${each.join(' ')} },`));
  };

  it.each(secrets)('keeps from a plugin: %s', async (what) => {
    asked ??= answers();
    const answer = (await asked).find((one) => one['what'] === what);
    expect(answer).toHaveProperty('value');
    const value = String(answer?.['value']);
    expect(value).not.toMatch(/object(?! Object)/);
    expect(value).toMatch(/undefined|ReferenceError|TypeError|not defined|function/);
  });

  it('does not run a dynamic import', async () => {
    const attachment = await beside(
      'SANDBOX',
      'onBatch(_events, context) { import("fs").then(() => context.emit("imported", {})); },',
    );
    expect(attachment.results.count).toBe(0);
  });

  it('holds a plugin that changes all prototypes: only it is hit', async () => {
    const tricks = `Object.prototype.toJSON = () => "x"; Array.prototype.push = () => 0; Array.prototype.indexOf = () => { throw 1; };
      Object.defineProperty(Object.prototype, "then", { get() { throw new Error("then"); } });
        JSON.parse = JSON.stringify = () => { throw 2; };
      Function.prototype.call = Function.prototype.apply = () => { throw 3; }; Error.prototype.toString = () => { throw 4; }; String = 5;`;
    const attachment = await beside('SANDBOX', `onBatch(_events, context) { ${tricks} context.emit("x", { a: 1 }); },`);
    expect(['FAILED', 'STOPPED']).toContain(attachment.state);
    expect(({} as Record<string, unknown>)['toJSON']).toBeUndefined();
  });
});
