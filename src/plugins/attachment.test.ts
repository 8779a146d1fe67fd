import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { FilterFields } from '../filter/index.js';
import { playedSession, type PlayedSession } from '../../test/support/played.js';
import { found, pluginSource } from '../../test/support/plugin.js';
import { until } from '../../test/support/until.js';
import { Attachment, type LoadedPlugin, type Restart } from './attachment.js';
import { compileSource } from './source.js';
import { defaultLimits, PluginThread } from './thread.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), () => false);
const vocabulary = { catalog, fields: new FilterFields(schema, catalog) };
const limits = { ...defaultLimits.TRUSTED, callMs: 200 };
const log = pino({ level: 'silent' });

const sessions: PlayedSession[] = [];
const attachments: Attachment[] = [];
afterEach(async () => {
  for (const attachment of attachments.splice(0)) await attachment.detach();
  for (const { session } of sessions.splice(0)) await session.stop('REQUESTED');
});

async function play(close?: () => Promise<void>): Promise<PlayedSession> {
  const played = await playedSession(['exit'], close);
  sessions.push(played);
  return played;
}

/** A plugin that does this with each event of the tracker exit. */
async function load(body: string, more = ''): Promise<LoadedPlugin> {
  const hook = `onBatch(events, context) { for (const { process } of events) { ${body} } },`;
  const source = await compileSource('p.ts', pluginSource('p', hook, "{ exit: ['process.pid'] }", more));
  const { thread, facts } = await PluginThread.load(source, 'TRUSTED', limits, vocabulary);
  await thread.end();
  return { facts, source, realm: 'TRUSTED' };
}

function attach(plugin: LoadedPlugin, { session }: PlayedSession, restart: Restart): Attachment {
  const raise = (): void => undefined;
  const attachment = new Attachment(
    plugin,
    {},
    {
      ...{ session, given: null, restart, fromStart: true },
      ...{ limits, vocabulary, log, raise },
    },
  );
  attachments.push(attachment);
  return attachment;
}

const emit = "context.emit('pid', { pid: process.pid });";
const pidsOf = (attachment: Attachment): unknown[] => found(attachment).map(({ pid }) => pid);

describe('a plugin that failed', () => {
  it.each([
    ['NEVER', 'FAILED'],
    ['ON_FAILURE', 'BACKOFF'],
  ] as const)('and is restarted %s, gets the events that its new code asks for', async (restart, state) => {
    const played = await play();
    const attachment = attach(
      await load(`if (process.pid === 1) for (;;); ${emit}`, "where: 'process.pid < 2',"),
      played,
      restart,
    );
    played.add(4);
    await until('it has failed', () => attachment.state === state);
    await attachment.replace(await load(emit, "where: 'process.pid >= 3',"));
    await until('the new code is at work', () => attachment.state === 'RUNNING');
    played.add(2);
    await until('it has the last event', () => pidsOf(attachment).includes(5));
    expect(pidsOf(attachment).filter((pid) => Number(pid) > 1)).toEqual([3, 4, 5]);
    expect(attachment).toMatchObject({ problem: null, counts: { failures: 1, reloads: 1 } });
  });
});

describe('a plugin that is reloaded', () => {
  it('several times at once, and stopped meanwhile, leaves no thread behind', async () => {
    const codes = await Promise.all([1, 2, 3].map((n) => load(`context.emit('pid', { pid: ${n} });`)));
    const [loads, ends] = [vi.spyOn(PluginThread, 'load'), vi.spyOn(PluginThread.prototype, 'end')];
    try {
      const played = await play();
      const attachment = attach(await load(emit), played, 'NEVER');
      await until('it is at work', () => attachment.state === 'RUNNING');
      await Promise.all(codes.map((code) => attachment.replace(code)));
      played.add(1);
      await until('the newest code is at work', () => pidsOf(attachment).includes(3));
      const replacing = codes.map((code) => attachment.replace(code));
      await attachment.detach();
      await Promise.all(replacing);
      expect(loads.mock.calls.length).toBeGreaterThan(codes.length);
      expect(new Set(ends.mock.contexts).size).toBe(loads.mock.calls.length);
    } finally {
      vi.restoreAllMocks();
    }
  });
});

it('a plugin whose session fails is stopped, and has an error that says so', async () => {
  const played = await play(() => Promise.reject(new Error('the ring is gone')));
  const attachment = attach(await load(emit), played, 'ON_FAILURE');
  played.add(2);
  await played.session.stop('REQUESTED');
  await attachment.done;
  expect([attachment.state, pidsOf(attachment)]).toEqual(['STOPPED', [0, 1]]);
  expect(attachment.errors).toMatchObject([{ message: expect.stringContaining('the ring is gone') as string }]);
});
