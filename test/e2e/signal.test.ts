import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';
import { until } from '../support/until.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Node {
  readonly signal: string | null;
  readonly targetPid: number | null;
  readonly targetContainerId: string | null;
  readonly targetContainerName: string | null;
  readonly process: { readonly pid: number; readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

it('a session on a container has the signals that it sends and those that it gets, with the containers of both sides', async () => {
  const server = await startServer(['--engine', docker.socket]);
  const id = await docker.run(
    '-d',
    '--name',
    'got',
    TEST_IMAGE,
    'sh',
    '-c',
    'trap : USR1; while :; do sleep 0.1; done',
  );
  await docker.run('-d', '--name', 'sends', '--pid', 'container:got', TEST_IMAGE, 'sleep', '600');
  const pid = Number(await docker.docker('inspect', '--format', '{{.State.Pid}}', id));
  const ids = {
    got: await startSession(server, '{ trackers: [{ signal: {} }], target: { containers: [{ name: "got" }] } }'),
    sends: await startSession(server, '{ trackers: [{ signal: {} }], target: { containers: [{ name: "sends" }] } }'),
    named: await startSession(
      server,
      '{ trackers: [{ signal: {} }], where: { signal: { targetContainerName: { eq: "got" } } } }',
    ),
  };
  process.kill(pid, 'SIGUSR1'); // from the host
  await docker.docker('exec', 'sends', 'kill', '-USR1', '1'); // from the other container
  await docker.docker('exec', 'got', 'kill', '-USR1', '1'); // from its own

  const nodesOf = async (session: string): Promise<Node[]> => {
    const page = await server.query<{ session: { events: { nodes: Node[] } } }>(
      `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { pid comm } container { name }
        ... on SignalEvent { signal targetPid targetContainerId targetContainerName } } } } }`,
      { id: session },
    );
    return page.session.events.nodes.filter(({ signal, targetPid }) => signal === 'SIGUSR1' && targetPid === pid);
  };
  const sides = (nodes: readonly Node[]) =>
    nodes.map(({ container, targetContainerName }) => `${container?.name ?? 'host'} to ${targetContainerName}`).sort();
  await until('all are here', async () => (await nodesOf(ids.got)).length >= 3);
  for (const session of Object.values(ids)) {
    await stopSession(server, session);
    const stats = await statsOf(server, session);
    expect(stats.lost).toBe(0);
    expect(stats.produced).toBe(stats.received);
    expect(stats.received).toBe(stats.discarded + stats.delivered + stats.queued);
  }
  const got = await nodesOf(ids.got);
  expect(sides(got)).toEqual(['got to got', 'host to got', 'sends to got']);
  expect(new Set(got.map(({ targetContainerId }) => targetContainerId))).toEqual(new Set([id]));
  expect(got.find(({ container }) => container === null)?.process.pid).toBe(process.pid);
  expect(sides(await nodesOf(ids.sends))).toEqual(['sends to got']);
  expect(sides(await nodesOf(ids.named))).toEqual(['got to got', 'host to got', 'sends to got']);
});
