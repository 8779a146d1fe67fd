import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
}, 60_000);
afterAll(() => docker.stop(), 120_000);

interface Written {
  readonly name: string;
  readonly oldValue: string | null;
  readonly newValue: string | null;
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

it('reports parameters that containers write, and those that their runtime sets for them', async () => {
  const server = await startServer(['--engine', docker.socket]);
  const session = await startSession(
    server,
    '{ trackers: [{ sysctl: {} }], target: { containers: [{ name: "tuned" }, { name: "plain" }], waitForContainers: true } }',
  );
  const write = 'cd /proc/sys/net/ipv4; cat ip_default_ttl; echo 78 > ip_default_ttl; cat ip_default_ttl';
  const tuned = await docker.run(
    ...['--name', 'tuned', '--network', 'none', '--sysctl', 'net.ipv4.ip_default_ttl=77'],
    ...['--security-opt', 'systempaths=unconfined'], // with /proc/sys that can be written
    ...[TEST_IMAGE, 'sh', '-c', write],
  );
  expect(tuned).toBe('77\n78'); // the witness: what the container reads
  // There, /proc/sys is mounted read-only: the attempt fails before the kernel looks at the parameter.
  expect(
    await docker.run('--name', 'plain', '--network', 'none', TEST_IMAGE, 'sh', '-c', `exec 2>&1; ${write}`),
  ).toMatch(/^64\n.*Read-only file system\n64$/);
  await stopSession(server, session);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const page = await server.query<{ session: { events: { nodes: readonly Written[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
      ... on SysctlEvent { name oldValue newValue } } } } }`,
    { id: session },
  );
  const written = page.session.events.nodes
    .filter(({ name }) => name === 'net/ipv4/ip_default_ttl')
    .map(({ process: { comm }, container, name, oldValue, newValue }) => [
      container?.name,
      comm,
      name,
      oldValue,
      newValue,
    ]);
  expect(written).toEqual([
    ['tuned', expect.stringMatching(/^runc/), 'net/ipv4/ip_default_ttl', '64', '77'],
    ['tuned', 'sh', 'net/ipv4/ip_default_ttl', '77', '78'],
  ]);
}, 120_000);
