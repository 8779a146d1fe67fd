import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';
import { scratch } from '../support/workload.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Refused {
  readonly name: string;
  readonly action: string;
  readonly errno: string | null;
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

it('reports what the seccomp profiles of containers refuse, by container, and not what the kernel refuses', async () => {
  const profile = join(scratch, 'seccomp.json');
  const rule = (names: readonly string[], action: string, errnoRet?: number) => ({ names, action, errnoRet });
  await writeFile(
    profile,
    JSON.stringify({
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [
        rule(['mkdir', 'mkdirat'], 'SCMP_ACT_ERRNO', 122 /* EDQUOT, which the kernel has no reason for */),
        rule(['sethostname'], 'SCMP_ACT_KILL_PROCESS'),
      ],
    }),
  );
  const server = await startServer(['--engine', docker.socket]);
  const session = await startSession(
    server,
    '{ trackers: [{ seccomp: {} }], target: { containers: [{ name: "strict" }, { name: "usual" }], waitForContainers: true } }',
  );
  const script = 'mkdir /tmp/a; mkdir /tmp/b; rmdir /none; mount -t tmpfs tmpfs /tmp; hostname other; true';
  await docker.run('--name', 'strict', '--security-opt', `seccomp=${profile}`, TEST_IMAGE, 'sh', '-c', script);
  await docker.run('--name', 'usual', TEST_IMAGE, 'sh', '-c', script); // Docker's own profile
  await stopSession(server, session);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const page = await server.query<{
    session: {
      events: { nodes: readonly Refused[] };
      report: { refusedCalls: { entries: readonly Record<string, unknown>[] } };
    };
  }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
      ... on SeccompEvent { name action errno } } }
      report(container: "strict") { refusedCalls { entries { name action errno count comms } } } } }`,
    { id: session },
  );
  const of = (container: string) =>
    page.session.events.nodes
      .filter((each) => each.container?.name === container)
      .map(({ process: { comm }, name, action, errno }) => [comm, name.replace('mkdirat', 'mkdir'), action, errno]);
  expect(of('strict')).toEqual([
    ['mkdir', 'mkdir', 'ERRNO', 'EDQUOT'],
    ['mkdir', 'mkdir', 'ERRNO', 'EDQUOT'],
    ['hostname', 'sethostname', 'KILL_PROCESS', null],
  ]);
  expect(of('usual')).toEqual([
    ['mount', 'mount', 'ERRNO', 'EPERM'],
    ['hostname', 'sethostname', 'ERRNO', 'EPERM'],
  ]);
  expect(page.session.report.refusedCalls.entries).toEqual([
    { name: expect.stringMatching(/^mkdir/) as string, action: 'ERRNO', errno: 'EDQUOT', count: '2', comms: ['mkdir'] },
    { name: 'sethostname', action: 'KILL_PROCESS', errno: null, count: '1', comms: ['hostname'] },
  ]);
});
