import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Step {
  readonly pid: number;
  readonly comm: string;
  readonly container: Reached | null;
}
interface Reached {
  readonly name: string;
  readonly listeningPorts: readonly {
    readonly protocol: string;
    readonly port: number;
    readonly socket: { readonly process: { readonly comm: string } };
  }[];
  readonly events: { readonly nodes: readonly { readonly args: readonly string[]; readonly process: object }[] };
  readonly sessions: readonly { readonly id: string }[];
}

it('one query goes from a DNS event to its process, its ancestors, its container, the ports there and its last execs', async () => {
  const server = await startServer(['--engine', docker.socket]);
  const id = await docker.run('-d', '--name', 'web', TEST_IMAGE, 'httpd', '-f', '-p', '8080');
  await docker.run('-d', '--name', 'other', TEST_IMAGE, 'httpd', '-f', '-p', '8081');
  const target = '{ containers: [{ name: "web" }] }';
  const session = await startSession(server, `{ trackers: [{ dns: {} }, { exec: {} }], target: ${target} }`);
  const elsewhere = await startSession(
    server,
    '{ trackers: [{ exit: {} }], target: { containers: [{ name: "other" }] } }',
  );
  // Nobody answers: the question is all there is.
  await docker.docker('exec', 'web', 'sh', '-c', 'nslookup eunomia.test 127.0.0.1; :').catch(() => undefined);
  const event = await until('the question was seen', async () => {
    const { session: found } = await server.query<{
      session: { events: { nodes: readonly { name: string; process: Step & { ancestors: readonly Step[] } }[] } };
    }>(
      `query ($id: ID!) { session(id: $id) { events(first: 1, where: { dns: { name: { eq: "eunomia.test" } } }) { nodes {
        ... on DnsEvent { name process { pid comm ancestors(first: 64) { pid comm container {
          name
          listeningPorts { protocol port socket { process { comm } } }
          events(session: $id, last: 2, where: { exec: {} }) { nodes { ... on ExecEvent { args process { parent { comm } } } } }
          sessions(state: RUNNING) { id }
        } } } } } } } }`,
      { id: session },
    );
    return found.events.nodes[0];
  });
  await stopSession(server, session);
  await stopSession(server, elsewhere);
  const { process: asker } = event;
  const [shell, ...above] = asker.ancestors;
  expect([asker.comm, shell?.comm]).toEqual(['nslookup', 'sh']);
  expect(shell?.container).toEqual({
    name: 'web',
    listeningPorts: [{ protocol: 'TCP', port: 8080, socket: { process: { comm: 'httpd' } } }],
    events: {
      nodes: [
        {
          args: ['sh', '-c', 'nslookup eunomia.test 127.0.0.1; :'],
          process: { parent: { comm: expect.any(String) as string } },
        },
        { args: ['nslookup', 'eunomia.test', '127.0.0.1'], process: { parent: { comm: 'sh' } } },
      ],
    },
    sessions: [{ id: session }],
  });
  // What started it in the container is on the host: the engine's shim.
  const shim = above.find(({ comm }) => comm.startsWith('containerd-shim'));
  expect(shim).toMatchObject({ container: null });
  expect(above.at(-1)?.pid).toBe(1);
  // Its first process is there, with the shell of `docker exec` beside it.
  const { container } = await server.query<{
    container: { processes: { nodes: readonly { process: { pid: number; parent: { comm: string } } }[] } };
  }>('{ container(ref: "web") { processes { nodes { process { pid parent { comm } } } } } }');
  const first = Number(await docker.docker('inspect', '--format', '{{.State.Pid}}', id));
  expect(container.processes.nodes).toMatchObject([{ process: { pid: first } }]);
});

describe('what a container uses', () => {
  let server: TestServer;
  let id = '';

  beforeAll(async () => {
    server = await startServer(['--engine', docker.socket], { keep: true });
    id = await docker.run(
      ...['-d', '--name', 'busy', '--memory', '64m', '--cpus', '0.25', '--pids-limit', '40', TEST_IMAGE],
      ...['sh', '-c', 'dd if=/dev/zero of=/held bs=1M count=8; (while :; do :; done) & exec sleep 600'],
    );
  });
  afterAll(() => server.end('SIGTERM'));

  interface Resources {
    readonly cpu: Readonly<Record<string, string | number | null>> | null;
    readonly memory: Readonly<Record<string, string | null>> | null;
    readonly io: Readonly<Record<string, string>> | null;
    readonly tasks: { readonly current: string; readonly limit: string } | null;
    readonly pressure: { readonly cpu: { readonly some: { readonly totalNs: string } } | null } | null;
  }
  const read = async (): Promise<Resources> => {
    const { container } = await server.query<{ container: { resources: Resources } }>(
      `{ container(ref: "busy") { resources { takenAt
        cpu { usageNs userNs systemNs limitCpus periods throttledPeriods throttledNs }
        memory { currentBytes peakBytes limitBytes anonymousBytes fileBytes oomKills }
        io { readBytes writtenBytes reads writes } tasks { current limit }
        pressure { cpu { some { avg10 totalNs } full { totalNs } } memory { some { totalNs } } io { some { totalNs } } } } } }`,
    );
    return container.resources;
  };

  /** The kernel's own word: the file of the v1 controller, or of v2. */
  const witness = async (controller: string, v1: string, v2: string): Promise<string> => {
    const legacy = `/sys/fs/cgroup/${controller}/docker/${id}/${v1}`;
    const unified = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].map((root) => `${root}/docker/${id}/${v2}`);
    const path = [legacy, ...unified, `/sys/fs/cgroup/system.slice/docker-${id}.scope/${v2}`].find((one) =>
      existsSync(one),
    );
    if (path === undefined) throw new Error(`no ${v1} and no ${v2} of the container`);
    return (await readFile(path, 'utf8')).trim();
  };

  it('is what the files of its cgroup say: memory, CPU time, limits, processes', async () => {
    await until('it is throttled', async () => Number((await read()).cpu?.['throttledPeriods']) > 3);
    const cpuBefore = await witness('cpuacct', 'cpuacct.usage', 'cpu.stat');
    const memoryBefore = Number(await witness('memory', 'memory.usage_in_bytes', 'memory.current'));
    const seen = await read();
    const memoryAfter = Number(await witness('memory', 'memory.usage_in_bytes', 'memory.current'));
    const cpuAfter = await witness('cpuacct', 'cpuacct.usage', 'cpu.stat');

    const nanoseconds = (text: string): number =>
      /^\d+$/.test(text) ? Number(text) : Number(/usage_usec (\d+)/.exec(text)?.[1]) * 1000;
    expect(Number(seen.cpu?.['usageNs'])).toBeGreaterThanOrEqual(nanoseconds(cpuBefore));
    expect(Number(seen.cpu?.['usageNs'])).toBeLessThanOrEqual(nanoseconds(cpuAfter));
    expect(seen.cpu?.['limitCpus']).toBe(0.25);
    expect(Number(seen.cpu?.['throttledNs'])).toBeGreaterThan(0);

    // The kernel counts in batches of some pages a CPU.
    const slack = 1 << 20;
    expect(Number(seen.memory?.['currentBytes'])).toBeGreaterThanOrEqual(Math.min(memoryBefore, memoryAfter) - slack);
    expect(Number(seen.memory?.['currentBytes'])).toBeLessThanOrEqual(Math.max(memoryBefore, memoryAfter) + slack);
    expect(Number(seen.memory?.['fileBytes'])).toBeGreaterThanOrEqual(8 << 20);
    expect(Number(seen.memory?.['peakBytes'])).toBeGreaterThanOrEqual(8 << 20);
    expect(seen.memory).toMatchObject({ limitBytes: String(64 << 20), oomKills: '0' });

    // sh's loop, and sleep.
    expect(seen.tasks).toEqual({ current: '2', limit: '40' });
    expect(seen.tasks?.current).toBe(await witness('pids', 'pids.current', 'pids.current'));
    expect(Number(seen.pressure?.cpu?.some.totalNs)).toBeGreaterThan(0);
  });

  it('is null of a container that has ended', async () => {
    await docker.docker('kill', 'busy');
    await until('the server knows', async () => {
      const { container } = await server.query<{ container: { state: string; resources: object | null } }>(
        '{ container(ref: "busy") { state resources { takenAt } listeningPorts { port } } }',
      );
      return container.state === 'EXITED' && container.resources === null;
    });
  });
});
