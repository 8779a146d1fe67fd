import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { closeAll } from '../support/closing.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { ipcSource } from '../support/ipc.js';
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

interface Counted {
  readonly tracker: string;
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
  readonly [field: string]: unknown;
}

it('counts what containers send each other in both measures, how they are throttled, and what they pass', async () => {
  const program = await compileC('ipcload', ipcSource, '-static', '-lrt');
  const ADDRESS = '10.214.54.81';
  const server = await startServer(['--engine', docker.socket]);
  const names = ['drain', 'source', 'busy', 'sharer'];
  const session = await startSession(
    server,
    `{ trackers: [{ flow: {} }, { cputhrottle: {} }, { ipc: { operations: [FD_SEND, FD_RECEIVE] } }],
       target: { containers: [${names.map((name) => `{ name: "${name}" }`).join(', ')}], waitForContainers: true } }`,
  );
  // It reads from the connection itself: nc may end before it has read all.
  const receive = 'nc -l -p 7000 -e sh -c "wc -c >/tmp/n"; cat /tmp/n';
  const drain = docker.run('--name', 'drain', '--network', NETWORK, '--ip', ADDRESS, TEST_IMAGE, 'sh', '-c', receive);
  const send = `until head -c 200000 /dev/zero | nc -w 5 ${ADDRESS} 7000; do sleep 0.05; done`;
  await docker.run('--name', 'source', '--network', NETWORK, TEST_IMAGE, 'sh', '-c', send);
  const came = Number((await drain).trim());
  expect(came).toBe(200_000);
  await docker.run(
    '--name',
    'busy',
    '--cpus',
    '0.1',
    TEST_IMAGE,
    'sh',
    '-c',
    'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done',
  );
  const load = ['-v', `${dirname(program)}:/load:ro`];
  await docker.run('--name', 'sharer', ...load, TEST_IMAGE, '/load/ipcload', 'pass', 'call', '/load/ipcload');
  await stopSession(server, session);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const page = await server.query<{ session: { events: { nodes: readonly Counted[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { tracker process { comm } container { name }
      ... on FlowEvent { protocol remoteAddress remotePort localPort processSentBytes processReceivedBytes wireSentBytes wireReceivedBytes }
      ... on CputhrottleEvent { count throttledNs quotaNs periodNs }
      ... on IpcEvent { ipcOperation path descriptorKind peerComm peerContainerName } } } } }`,
    { id: session },
  );
  const of = (tracker: string, name: string) =>
    page.session.events.nodes.filter((event) => event.tracker === tracker && event.container?.name === name);
  const sum = (events: readonly Counted[], field: string) => events.reduce((n, event) => n + Number(event[field]), 0);

  const sent = of('flow', 'source').filter((event) => event['remotePort'] === 7000);
  const taken = of('flow', 'drain').filter((event) => event['localPort'] === 7000);
  for (const event of sent)
    expect(event).toMatchObject({ protocol: 'TCP', remoteAddress: ADDRESS, process: { comm: 'nc' } });
  expect([sum(sent, 'processSentBytes'), sum(taken, 'processReceivedBytes')]).toEqual([200_000, came]);
  expect(sum(sent, 'wireSentBytes')).toBeGreaterThan(200_000);
  expect(sum(taken, 'wireReceivedBytes')).toBeGreaterThan(came);
  expect(sum(sent, 'wireReceivedBytes')).toBeGreaterThan(100);

  const throttled = of('cputhrottle', 'busy');
  expect(sum(throttled, 'count')).toBeGreaterThan(0);
  for (const event of throttled) expect(event).toMatchObject({ quotaNs: '10000000', periodNs: '100000000' });

  const passed = { path: '/load/ipcload', descriptorKind: 'FILE', peerComm: 'ipcload', peerContainerName: 'sharer' };
  expect(of('ipc', 'sharer').filter((event) => event['path'] === '/load/ipcload')).toMatchObject([
    { ...passed, ipcOperation: 'FD_SEND' },
    { ...passed, ipcOperation: 'FD_RECEIVE' },
  ]);
});
