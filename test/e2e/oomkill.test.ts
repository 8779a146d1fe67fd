import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';
import { until } from '../support/until.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

it("a session on a container has the process that is killed at the container's limit", async () => {
  const server = await startServer(['--engine', docker.socket]);
  const limit = ['--memory', '12m', '--memory-swap', '12m'];
  const id = await docker.run('-d', '--name', 'hog', ...limit, TEST_IMAGE, 'sleep', '600');
  await docker.run('-d', '--name', 'other', TEST_IMAGE, 'sleep', '600');
  const on = (name: string) =>
    startSession(server, `{ trackers: [{ oomkill: {} }], target: { containers: [{ name: "${name}" }] } }`);
  const hog = await on('hog');
  const other = await on('other');
  await expect(docker.docker('exec', 'hog', 'tail', '/dev/zero')).rejects.toMatchObject({ code: 137 });
  const nodesOf = async (session: string): Promise<readonly unknown[]> => {
    const page = await server.query<{ session: { events: { nodes: readonly unknown[] } } }>(
      `query ($id: ID!) { session(id: $id) { events(last: 100) { nodes { process { comm } container { name }
        ... on OomkillEvent { memoryCgroup limitBytes triggerComm triggerContainerId triggerContainerName } } } } }`,
      { id: session },
    );
    return page.session.events.nodes;
  };
  await until('it is here', async () => (await nodesOf(hog)).length > 0);
  for (const session of [hog, other]) {
    await stopSession(server, session);
    const { produced, lost, received } = await statsOf(server, session);
    expect([produced, lost]).toEqual([received, 0]);
  }
  expect(await nodesOf(hog)).toEqual([
    {
      process: { comm: 'tail' },
      container: { name: 'hog' },
      memoryCgroup: expect.stringMatching(new RegExp(`/(docker/|docker-)${id}`)) as string,
      limitBytes: String(12 << 20),
      triggerComm: 'tail',
      triggerContainerId: id,
      triggerContainerName: 'hog',
    },
  ]);
  expect(await nodesOf(other)).toEqual([]);
});
