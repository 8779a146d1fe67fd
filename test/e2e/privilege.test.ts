import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';
import { until } from '../support/until.js';
import { compileC, run } from '../support/workload.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Node {
  readonly privilegeCall: string;
  readonly command: string | null;
  readonly errno: string | null;
  readonly capabilitiesGained: readonly string[] | null;
  readonly targetContainerId: string | null;
  readonly targetContainerName: string | null;
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

it('has what a container attempts, and what others do to it, with the containers of both sides', async () => {
  const program = await compileC('privileged', readFileSync(join(root, 'test/support/privilege.c'), 'utf8'), '-static');
  const server = await startServer(['--engine', docker.socket]);
  const id = await docker.run('-d', '--name', 'confined', '--cap-drop', 'ALL', TEST_IMAGE, 'sleep', '600');
  const pid = Number(await docker.docker('inspect', '--format', '{{.State.Pid}}', id));
  const session = await startSession(
    server,
    '{ trackers: [{ privilege: {} }], target: { containers: [{ name: "confined" }] } }',
  );
  await docker.docker('exec', 'confined', 'sh', '-c', 'unshare -m true; chroot / true; true');
  await run(program, ['seize', String(pid)]);
  await run(program, ['enter', String(pid)]);

  const nodesOf = async (): Promise<Node[]> => {
    const page = await server.query<{ session: { events: { nodes: Node[] } } }>(
      `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
        ... on PrivilegeEvent { privilegeCall command errno capabilitiesGained targetContainerId targetContainerName } } } } }`,
      { id: session },
    );
    return page.session.events.nodes;
  };
  const entered = ({ privilegeCall: call, process }: Node) => call === 'SETNS' && process.comm === 'privileged';
  await until('all are here', async () => (await nodesOf()).some(entered));
  await stopSession(server, session);
  const stats = await statsOf(server, session);
  expect([stats.lost, stats.produced]).toEqual([0, stats.received]);
  const nodes = await nodesOf();
  const of = (comm: string, call: string) =>
    nodes.find((node) => node.process.comm === comm && node.privilegeCall === call && node.errno === 'EPERM');
  expect(of('unshare', 'UNSHARE')).toMatchObject({ container: { name: 'confined' } });
  expect(of('chroot', 'CHROOT')).toMatchObject({ container: { name: 'confined' } });
  const there = { container: null, targetContainerId: id, targetContainerName: 'confined', errno: null };
  expect(nodes.find(({ command }) => command === 'PTRACE_SEIZE')).toMatchObject(there);
  expect(nodes.find(entered)).toMatchObject(there);
  // What the runtime did for the process of docker exec, when it was in the container already.
  expect(nodes.filter(({ command }) => command === 'PR_CAPBSET_DROP').length).toBeGreaterThan(5);

  const report = await server.query<{ session: { report: { privileges: { entries: readonly unknown[] } } } }>(
    `query ($id: ID!) { session(id: $id) { report { privileges { entries { call command errno count comms targets } } } } }`,
    { id: session },
  );
  expect(report.session.report.privileges.entries).toContainEqual({
    call: 'ptrace',
    command: 'PTRACE_SEIZE',
    errno: null,
    count: '1',
    comms: ['privileged'],
    targets: ['sleep'],
  });
});
