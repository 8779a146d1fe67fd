import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';

const COUNT = 60;
const AT_ONCE = 8;

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Node {
  readonly args: readonly string[] | null;
  readonly executable: string | null;
  readonly container: { readonly name: string | null; readonly image: string | null; readonly id: string } | null;
}

it(`sees and names the first exec of each of ${COUNT} containers that end at once`, async () => {
  const server = await startServer(['--engine', docker.socket]);
  const targeted = await startSession(
    server,
    '{ trackers: [{ exec: {} }], target: { containers: [{ name: "short-*" }], waitForContainers: true } }',
  );
  const whole = await startSession(server, '{ trackers: [{ exec: { failed: false } }] }');

  const waiting = Array.from({ length: COUNT }, (_, i) => i);
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let i = waiting.shift(); i !== undefined; i = waiting.shift()) {
        await docker.run('--rm', '--network', 'host', '--name', `short-${i}`, TEST_IMAGE, 'true', `number-${i}`);
      }
    }),
  );

  const wanted = Array.from(
    { length: COUNT },
    (_, i) => `short-${i} ${TEST_IMAGE} true number-${i} /bin/busybox`,
  ).sort();
  for (const id of [targeted, whole]) {
    await stopSession(server, id);
    const stats = await statsOf(server, id);
    expect(stats.lost).toBe(0);
    expect(stats.produced).toBe(stats.received);
    expect(stats.received).toBe(stats.discarded + stats.delivered + stats.queued);
    const { session } = await server.query<{ session: { events: { nodes: Node[] } } }>(
      'query ($id: ID!) { session(id: $id) { events(last: 40000) { nodes { ... on ExecEvent { args executable } ' +
        'container { id name image } } } } }',
      { id },
    );
    const first = session.events.nodes.filter(({ args }) => args?.[0] === 'true' && args[1]?.startsWith('number-'));
    expect(
      first
        .map(({ args, executable, container }) =>
          [container?.name, container?.image, ...(args ?? []), executable].join(' '),
        )
        .sort(),
    ).toEqual(wanted);
    expect(new Set(first.map(({ container }) => container?.id)).size).toBe(COUNT);
    // The target holds nothing else.
    if (id === targeted)
      expect(session.events.nodes.every(({ container }) => container?.name?.startsWith('short-'))).toBe(true);
  }
}, 600_000);
