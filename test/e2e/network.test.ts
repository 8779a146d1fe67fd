import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { closeAll } from '../support/closing.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { unixSource } from '../support/unix.js';
import { compileC, scratch } from '../support/workload.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';

let docker: TestDocker;
const NETWORK = 'eunomia-network';
const SILENT = '10.214.54.80';

beforeAll(async () => {
  docker = await startDocker();
  await docker.docker('network', 'create', '--subnet', '10.214.54.0/24', NETWORK);
});
afterAll(() =>
  closeAll(
    () => docker.removeNetwork(NETWORK),
    () => docker.stop(),
  ),
);

interface Seen {
  readonly tracker: string;
  readonly process: { readonly pid: number; readonly comm: string };
  readonly container: { readonly name: string | null } | null;
  readonly direction?: string;
  readonly resetReason?: string | null;
  readonly dropReason?: string;
  readonly localPort?: number;
  readonly remotePort?: number;
  readonly protocol?: string | null;
}

it('names the container whose packet it was, by process, or by network namespace where no socket is', async () => {
  const server = await startServer(['--engine', docker.socket]);
  // From before the session: what it is in is found by looking at all processes.
  await docker.run('-d', '--name', 'silent', '--network', NETWORK, '--ip', SILENT, TEST_IMAGE, 'sleep', '600');
  const targeted = `target: { containers: [{ name: "silent" }, { name: "asker" }], waitForContainers: true }`;
  const session = await startSession(server, `{ trackers: [{ tcpreset: {} }, { drop: {} }], ${targeted} }`);
  const other = await startSession(
    server,
    '{ trackers: [{ tcpreset: {} }, { drop: {} }], target: { containers: [{ name: "nobody" }], waitForContainers: true } }',
  );
  // A connection that is refused, and a datagram for a port that nobody has.
  const script = `nc -w 2 ${SILENT} 7 </dev/null; traceroute -n -q 1 -m 1 ${SILENT}`;
  await docker.run('--name', 'asker', '--network', NETWORK, TEST_IMAGE, 'sh', '-c', script);
  await stopSession(server, session);
  await stopSession(server, other);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const page = await server.query<{ session: { events: { nodes: readonly Seen[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { tracker process { pid comm } container { name }
      ... on TcpresetEvent { direction resetReason localPort remotePort }
      ... on DropEvent { dropReason protocol targetAddress } } } } }`,
    { id: session },
  );
  const events = page.session.events.nodes;
  const resets = events.filter(({ tracker }) => tracker === 'tcpreset');
  expect(resets).toEqual(
    expect.arrayContaining([
      expect.objectContaining({
        direction: 'SENT',
        localPort: 7,
        resetReason: 'NO_SOCKET',
        container: { name: 'silent' },
        process: { pid: 0, comm: '' },
      }),
      expect.objectContaining({
        direction: 'RECEIVED',
        remotePort: 7,
        container: { name: 'asker' },
        process: { pid: expect.any(Number) as number, comm: 'nc' },
      }),
    ]),
  );
  expect(events.filter(({ protocol }) => protocol === 'UDP')).toMatchObject([
    { tracker: 'drop', dropReason: 'NO_SOCKET', targetAddress: SILENT, container: { name: 'silent' } },
  ]);
  expect(new Set(events.map(({ container }) => container?.name))).toEqual(new Set(['silent', 'asker']));
  expect((await statsOf(server, other)).delivered).toBe(0);
});

it('has the containers of both ends of a Unix domain socket, whatever each calls it', async () => {
  const program = await compileC('unixload', unixSource, '-static');
  const shared = join(scratch, 'shared');
  await mkdir(shared);
  const mounts = (at: string) => ['-v', `${dirname(program)}:/load:ro`, '-v', `${shared}:${at}`];
  const server = await startServer(['--engine', docker.socket]);
  const session = await startSession(
    server,
    '{ trackers: [{ unix: {} }], target: { containers: [{ name: "caller" }], waitForContainers: true } }',
  );
  const serving = docker.run(
    '--name',
    'listener',
    ...mounts('/here'),
    TEST_IMAGE,
    '/load/unixload',
    'serve',
    'call',
    '1',
    '/here/s',
  );
  const calling = `until [ -S /there/s ]; do sleep 0.05; done; /load/unixload connect call 1 /there/s`;
  await docker.run('--name', 'caller', ...mounts('/there'), TEST_IMAGE, 'sh', '-c', calling);
  await serving;
  await stopSession(server, session);
  const page = await server.query<{ session: { events: { nodes: readonly { path: string | null }[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
      ... on UnixEvent { unixOperation path requestedPath peerComm peerContainerName } } } } }`,
    { id: session },
  );
  const names = { process: { comm: 'unixload' }, path: '/here/s', peerComm: 'unixload' };
  const [caller, listener] = ['caller', 'listener'].map((name) => ({ name }));
  expect(page.session.events.nodes.filter(({ path }) => path === '/here/s')).toEqual(
    expect.arrayContaining([
      {
        ...names,
        unixOperation: 'CONNECT',
        requestedPath: '/there/s',
        container: caller,
        peerContainerName: 'listener',
      },
      { ...names, unixOperation: 'ACCEPT', requestedPath: null, container: listener, peerContainerName: 'caller' },
    ]),
  );
});
