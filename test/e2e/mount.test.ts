import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Node {
  readonly mountOperation: string;
  readonly source: string | null;
  readonly target: string | null;
  readonly resolved: string | null;
  readonly fsType: string | null;
  readonly options: string | null;
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

async function nodesOf(server: TestServer, session: string): Promise<readonly Node[]> {
  const page = await server.query<{ session: { events: { nodes: readonly Node[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
      ... on MountEvent { mountOperation source target resolved fsType options } } } } }`,
    { id: session },
  );
  return page.session.events.nodes;
}

async function stop(server: TestServer, session: string): Promise<void> {
  await stopSession(server, session);
  const { produced, lost, received } = await statsOf(server, session);
  expect([produced, lost]).toEqual([received, 0]);
}

it('a session on a container has what is mounted in it', async () => {
  const server = await startServer(['--engine', docker.socket]);
  await docker.run('-d', '--name', 'mounts', '--cap-add', 'SYS_ADMIN', TEST_IMAGE, 'sleep', '600');
  const session = await startSession(
    server,
    '{ trackers: [{ mount: {} }], target: { containers: [{ name: "mounts" }] } }',
  );
  const inside = 'mkdir /m && mount -t tmpfs -o size=64k scratch /m && umount /m';
  await docker.docker('exec', 'mounts', 'sh', '-c', inside);
  const ours = async () => (await nodesOf(server, session)).filter(({ target }) => target === '/m');
  await until('both are here', async () => (await ours()).length >= 2);
  await stop(server, session);
  expect(await ours()).toMatchObject([
    { mountOperation: 'MOUNT', source: 'scratch', fsType: 'tmpfs', options: 'size=64k', container: { name: 'mounts' } },
    { mountOperation: 'UNMOUNT', source: null, container: { name: 'mounts' } },
  ]);
});

it('has what a runtime mounts for a container, with the paths behind its descriptors', async () => {
  const server = await startServer(['--engine', docker.socket]);
  const session = await startSession(
    server,
    '{ trackers: [{ mount: {} }], where: { process: { comm: { prefix: "runc" } } } }',
  );
  await docker.run('--rm', TEST_IMAGE, 'true');
  await until('the root is replaced', async () =>
    (await nodesOf(server, session)).some(({ mountOperation: operation }) => operation === 'PIVOT_ROOT'),
  );
  await stop(server, session);
  const nodes = await nodesOf(server, session);
  expect(nodes.some(({ mountOperation: operation, fsType }) => operation === 'MOUNT' && fsType === 'proc')).toBe(true);
  const byDescriptor = nodes.filter(({ target }) => /^\/proc\/(thread-)?self\/fd\/\d+$/.test(target ?? ''));
  expect(byDescriptor.length).toBeGreaterThan(0);
  for (const node of byDescriptor) expect([node.target, node.resolved]).toEqual([node.target, expect.any(String)]);
});
