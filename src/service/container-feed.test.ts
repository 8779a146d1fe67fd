import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import type { Container, ContainerFacts } from '../inventory/container.js';
import { ContainerRegistry } from '../inventory/registry.js';
import type { SourceSink } from '../inventory/source.js';
import { ContainerFeed } from './container-feed.js';

const registries: ContainerRegistry[] = [];
afterEach(async () => {
  for (const registry of registries.splice(0)) await registry.close();
});

/** The machine may have containers of its own, which a registry finds. */
const isOurs = ({ id }: Container): boolean => id.endsWith('0'.repeat(40));
const idOf = (name: string): string => Buffer.from(name).toString('hex').padEnd(64, '0');

/** A real registry, and what tells it of containers. */
async function registryOf(): Promise<{
  registry: ContainerRegistry;
  tell: (name: string, state: ContainerFacts['state']) => void;
  remove: (name: string) => void;
}> {
  let told: SourceSink | null = null;
  const status = { connected: true, error: null, version: '1', kind: 'test', endpoint: 'unix:///test' };
  const registry = new ContainerRegistry({
    log: pino({ level: 'silent' }),
    cgroups: null,
    sources: [
      (sink) => {
        told = sink;
        return {
          status,
          hopeful: true,
          start: (onFirst) => {
            sink.status(status);
            onFirst();
          },
          request: (wanted) => sink.absent(wanted),
          covers: () => true,
          close: async () => undefined,
        };
      },
    ],
  });
  registries.push(registry);
  await registry.start();
  const sink = told as SourceSink | null;
  if (!sink) throw new Error('no source');
  return {
    registry,
    tell: (name, state) => sink.facts({ id: idOf(name), runtime: 'docker', name, state }),
    remove: (name) => sink.removed(idOf(name), '2026-01-31T08:15:30.000000000Z'),
  };
}

async function next(feed: ContainerFeed): Promise<string | null> {
  const { done, value } = await feed.next();
  return done ? null : `${value.kind} ${value.container.name} ${value.before} ${value.container.state}`;
}

it('tells of containers that are there, start, change, stop and go, and ends', async () => {
  const { registry, tell, remove } = await registryOf();
  tell('web', 'RUNNING');
  let closed = 0;
  const feed = new ContainerFeed(registry, registry.list().filter(isOurs), isOurs, () => closed++);
  expect(await next(feed)).toBe('LISTED web null RUNNING');
  const waiting = next(feed);
  tell('db', 'CREATED');
  expect(await waiting).toBe('CHANGED db null CREATED');
  tell('db', 'RUNNING');
  expect(await next(feed)).toBe('STARTED db CREATED RUNNING');
  tell('web', 'PAUSED');
  expect(await next(feed)).toBe('CHANGED web RUNNING PAUSED');
  tell('web', 'EXITED');
  expect(await next(feed)).toBe('STOPPED web PAUSED EXITED');
  remove('web');
  expect(await next(feed)).toBe('CHANGED web EXITED REMOVED');
  const last = next(feed);
  feed.end();
  expect([await last, closed]).toEqual([null, 1]);
  tell('db', 'EXITED');
  expect(await next(feed)).toBeNull();
});

it('tells a slow reader once of what has changed several times, as it is by then', async () => {
  const { registry, tell, remove } = await registryOf();
  const feed = new ContainerFeed(registry, [], isOurs, () => undefined);
  for (const state of ['CREATED', 'RUNNING', 'EXITED', 'RUNNING'] as const) tell('web', state);
  tell('short', 'RUNNING');
  remove('short');
  expect([await next(feed), await next(feed)]).toEqual(['STARTED web null RUNNING', 'STOPPED short null REMOVED']);
  feed.end();
  expect(await next(feed)).toBeNull();
});

it('tells once of a container that does not match any more, and never of one that did not', async () => {
  const { registry, tell } = await registryOf();
  tell('web', 'RUNNING');
  const feed = new ContainerFeed(
    registry,
    registry.list().filter(isOurs),
    (one) => isOurs(one) && one.name === 'web' && one.state === 'RUNNING',
    () => undefined,
  );
  expect(await next(feed)).toBe('LISTED web null RUNNING');
  tell('db', 'RUNNING');
  tell('web', 'EXITED');
  expect(await next(feed)).toBe('STOPPED web RUNNING EXITED');
  tell('web', 'DEAD');
  tell('web', 'RUNNING');
  expect(await next(feed)).toBe('STARTED web null RUNNING');
});

it('ends at once for a reader that leaves', async () => {
  const { registry, tell } = await registryOf();
  tell('web', 'RUNNING');
  const feed = new ContainerFeed(registry, registry.list().filter(isOurs), isOurs, () => undefined);
  expect(await feed.return()).toEqual({ done: true, value: undefined });
  expect(await next(feed)).toBeNull();
});
