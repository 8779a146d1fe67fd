import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
}, 60_000);
afterAll(() => docker.stop(), 120_000);

interface Used {
  readonly type: string;
  readonly major: number;
  readonly minor: number;
  readonly name: string | null;
  readonly access: readonly string[];
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

it('reports the devices that containers make and open, and not those that any program uses', async () => {
  const server = await startServer(['--engine', docker.socket]);
  const session = await startSession(
    server,
    '{ trackers: [{ device: {} }], target: { containers: [{ name: "curious" }], waitForContainers: true } }',
  );
  const said = await docker.run(
    ...['--name', 'curious', '--device', '/dev/fuse', TEST_IMAGE, 'sh', '-c'],
    // A container may make device files by default; whether it may open them its rules decide.
    'mknod /dev/disk b 254 0; cat /dev/disk 2>&1; head -c 1 /dev/zero > /dev/null; : < /dev/fuse && echo opened',
  );
  expect(said).toMatch(/Operation not permitted\nopened$/);
  await stopSession(server, session);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const page = await server.query<{ session: { events: { nodes: readonly Used[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
      ... on DeviceEvent { type major minor name access } } } } }`,
    { id: session },
  );
  const used = page.session.events.nodes
    .filter(({ container, process: { comm } }) => container?.name === 'curious' && !comm.startsWith('runc'))
    .map(({ process: { comm }, type, major, minor, name, access }) => [comm, type, major, minor, name, access]);
  expect(used).toEqual([
    ['mknod', 'BLOCK', 254, 0, null, ['MAKE']],
    ['cat', 'BLOCK', 254, 0, null, ['READ']],
    ['sh', 'CHARACTER', 10, 229, 'fuse', ['READ']],
  ]);
}, 120_000);
