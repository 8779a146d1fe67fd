import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { ContainerRegistry } from '../inventory/registry.js';
import type { CreateSource, EngineStatus, SourceSink } from '../inventory/source.js';
import { layoutOf, packed, recordOf } from '../../test/support/record.js';
import type { TargetSpec } from './spec.js';
import { CgroupMatcher } from './target.js';

const id = 'e'.repeat(64);
const cgroupId = 2 ** 45 + 1;
const target: TargetSpec = {
  containers: [{ name: 'web-*' }],
  waitForContainers: true,
  cgroups: [],
  pids: [],
  descendants: false,
  uids: [],
  comms: [],
};
const hanging: EngineStatus = {
  connected: false,
  error: 'it hangs',
  version: null,
  kind: 'docker',
  endpoint: 'unix:///docker.sock',
};

const registries: ContainerRegistry[] = [];
afterEach(async () => {
  for (const registry of registries.splice(0)) await registry.close();
});

/** A session's matcher that has kept an event of a container whose name a silent engine may know. */
async function undecided(): Promise<{ matcher: CgroupMatcher; sink: SourceSink }> {
  let told: SourceSink | null = null;
  const silent: CreateSource = (sink) => {
    told = sink;
    return {
      status: hanging,
      hopeful: false,
      start: (onFirst) => onFirst(),
      request: () => undefined,
      covers: () => true,
      close: () => Promise.resolve(),
    };
  };
  const registry = new ContainerRegistry({ log: pino({ level: 'silent' }), sources: [silent] });
  registries.push(registry);
  await registry.start();
  expect(registry.learnCgroup(cgroupId, `/docker-${id}.scope`)).toMatchObject({ id, name: null });
  const matcher = new CgroupMatcher(target, registry);
  const { data, offsets } = packed([recordOf(layoutOf('exit'), { cgroupId, pid: 1 })]);
  const view = new DataView(data);
  await matcher.prepare(view, offsets);
  expect(matcher.select(view, offsets)).toHaveLength(1);
  if (told === null) throw new Error('the source was not made');
  return { matcher, sink: told };
}

const names = /no engine has told the names of 1 container/;
const kept = '1 event was kept while nobody could say whether the target holds their container';

it.each<[string, (sink: SourceSink) => void]>([
  ['has ended', (sink) => sink.removed(id, '2026-01-31T08:15:30.000000000Z')],
  ['is none of the engine’s', (sink) => sink.absent(id)],
  ['has its name', (sink) => sink.facts({ id, name: 'web-1', runtime: 'docker' })],
])('a container that %s is no longer undecided, though nothing happens in it any more', async (_what, happen) => {
  const { matcher, sink } = await undecided();
  expect(matcher.notices().join()).toMatch(names);
  happen(sink);
  expect(matcher.notices()).toEqual([expect.stringContaining('does not respond (it hangs)'), kept]);
});

it('of a session that has ended only what happened to it is told, and nothing of engines that are silent now', async () => {
  const { matcher } = await undecided();
  expect(matcher.notices(true)).toEqual([kept]);
});

it.each([
  [[{ name: 'wbe' }], 'the name "wbe"; did you mean "web"?'],
  [[{ name: 'eeee' }], 'the name "eeee"; did you mean the id "eeeeeeeeeeee"?'],
  [[{ image: 'ngnix' }], 'the image "ngnix"; did you mean "nginx"?'],
  [
    [{ id: 'ffff', image: 'x' }, { labels: [{ name: 'tier', value: 'front' }, { name: 'a' }] }],
    '"ffff" and the image "x", or the label "tier=front" and the label "a"',
  ],
])(
  'of a target %j that holds no container, what was asked for is told, and what comes near',
  async (containers, told) => {
    const registry = new ContainerRegistry({ log: pino({ level: 'silent' }), sources: [] });
    registries.push(registry);
    await registry.start();
    Object.assign(registry.learnCgroup(cgroupId, `/docker-${id}.scope`) ?? {}, {
      name: 'web',
      image: 'nginx',
      state: 'RUNNING',
    });
    const selected = { ...target, containers, waitForContainers: false };
    expect(() => new CgroupMatcher(selected, registry).requireContainers(selected)).toThrow(told);
  },
);
