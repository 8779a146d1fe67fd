import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Counted {
  readonly capability: string;
  readonly granted: boolean;
  readonly count: string;
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

it('counts what containers have capabilities for, and what is refused for want of one, by container', async () => {
  const server = await startServer(['--engine', docker.socket]);
  await docker.run('-d', '--name', 'without', '--cap-drop', 'ALL', TEST_IMAGE, 'sleep', '600');
  await docker.run('-d', '--name', 'with', TEST_IMAGE, 'sleep', '600');
  const session = await startSession(
    server,
    '{ trackers: [{ capability: { capabilities: ["CAP_CHOWN"] } }], target: { containers: [{ name: "with*" }] } }',
  );
  for (const name of ['without', 'with'])
    // Not chroot: without the capability, Docker's filter of seccomp refuses it before the kernel checks.
    await docker.docker('exec', name, 'sh', '-c', 'cd /dev/shm; for i in 1 2 3; do touch f$i; chown 1 f$i; done; true');
  await stopSession(server, session);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const page = await server.query<{ session: { events: { nodes: readonly Counted[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
      ... on CapabilityEvent { capability granted count } } } } }`,
    { id: session },
  );
  const counted = page.session.events.nodes.filter(({ process }) => process.comm === 'chown');
  const of = (container: string, granted: boolean) =>
    counted
      .filter((each) => each.container?.name === container && each.granted === granted)
      .reduce((sum, { count }) => sum + Number(count), 0);
  expect(new Set(counted.map(({ capability }) => capability))).toEqual(new Set(['CAP_CHOWN']));
  expect([of('without', true), of('without', false), of('with', true), of('with', false)]).toEqual([0, 3, 3, 0]);
});
