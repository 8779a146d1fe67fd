import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { startTracker, type Seen, type Tracked } from '../support/session.js';
import { ended, firstLine, start, work, workloadPath } from '../support/workload.js';

const mine = { pids: [process.pid] };

async function listen(
  host: string,
  onConnection: (socket: Socket) => void = () => {},
): Promise<{ server: Server; port: number }> {
  const server = createServer(onConnection);
  server.listen(0, host);
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

/** A port of this machine that nobody listens on. */
async function closedPort(host: string): Promise<number> {
  const { server, port } = await listen(host);
  server.close();
  await once(server, 'close');
  return port;
}

const at = (operation: string, pid: number) => (e: Seen) => e['tcpOperation'] === operation && e.process.pid === pid;

/** One blocking connection between two processes of workload.c with exact amounts both ways. */
async function exchange(
  address: string,
  bytes: { readonly up: number; readonly down: number },
): Promise<{ server: number; client: number; port: number }> {
  const server = start(await workloadPath(), ['serve', address, String(bytes.up), String(bytes.down)]);
  const port = Number(await firstLine(server));
  const serving = ended(server);
  const client = await work('talk', address.replace('::ffff:', ''), port, bytes.up, bytes.down);
  expect(client.code).toBe(0);
  expect((await serving).code).toBe(0);
  return { server: server.pid ?? 0, client: client.pid, port };
}

async function wholeLife(
  tcp: Tracked,
  address: string,
  bytes: { readonly up: number; readonly down: number },
): Promise<void> {
  const { server, client, port } = await exchange(address, bytes);
  const ipVersion = address.includes(':') ? 6 : 4;
  const connected = await tcp.next(at('CONNECT', client));
  const clientPort = connected['localPort'];
  const clientSide = {
    ipVersion,
    localAddress: address,
    localPort: clientPort,
    remoteAddress: address,
    remotePort: port,
    errno: null,
  };
  const serverSide = { ...clientSide, localPort: port, remotePort: clientPort };
  expect(connected).toMatchObject({
    tracker: 'tcp',
    ...clientSide,
    sentBytes: null,
    receivedBytes: null,
    process: { comm: 'workload', ppid: process.pid },
  });
  expect(BigInt(String(connected['durationNs']))).toBeGreaterThan(0n);
  expect(await tcp.next(at('ACCEPT', server))).toMatchObject({
    ...serverSide,
    sentBytes: null,
    receivedBytes: null,
    durationNs: null,
  });
  const closes = [await tcp.next(at('CLOSE', client)), await tcp.next(at('CLOSE', server))];
  expect(closes[0]).toMatchObject({ ...clientSide, sentBytes: String(bytes.up), receivedBytes: String(bytes.down) });
  expect(closes[1]).toMatchObject({ ...serverSide, sentBytes: String(bytes.down), receivedBytes: String(bytes.up) });
  for (const close of closes) expect(BigInt(String(close['durationNs']))).toBeGreaterThan(0n);
}

describe('the tracker tcp', () => {
  it('tells the life of an IPv4 connection on both sides, with exact bytes', async () => {
    const tcp = await startTracker('tcp', mine);
    await wholeLife(tcp, '127.0.0.1', { up: 1, down: 0 });
    await wholeLife(tcp, '127.0.0.1', { up: 100_003, down: 3_000_017 });
    await wholeLife(tcp, '127.0.0.1', { up: 0, down: 0 });
  });

  it('tells the life of an IPv6 connection on both sides, with exact bytes', async () => {
    const tcp = await startTracker('tcp', mine);
    await wholeLife(tcp, '::1', { up: 70_001, down: 12_345 });
    await wholeLife(tcp, '::1', { up: 0, down: 1 });
  });

  it.each([
    [0, 0],
    [1, 0],
    [0, 1],
    [70_001, 1],
  ])('tells exact bytes of a connection that was made before the session: %d up, %d down', async (up, down) => {
    const { server, port } = await listen('127.0.0.1');
    const socket = connect(port, '127.0.0.1');
    const [[accepted]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(socket, 'connect')]);
    const tcp = await startTracker('tcp', mine);
    accepted.end(Buffer.alloc(down));
    socket.end(Buffer.alloc(up));
    await Promise.all([socket, accepted].map((end) => end.resume() && once(end, 'close')));
    server.close();
    const sides = [await tcp.next((e) => e['remotePort'] === port), await tcp.next((e) => e['localPort'] === port)];
    expect(sides).toMatchObject([
      { tcpOperation: 'CLOSE', sentBytes: String(up), receivedBytes: String(down), durationNs: null },
      { tcpOperation: 'CLOSE', sentBytes: String(down), receivedBytes: String(up), durationNs: null },
    ]);
  });

  it('shows IPv4 through an IPv6 socket as IPv4', async () => {
    const tcp = await startTracker('tcp', mine);
    const { server, port } = await listen('::'); // takes both
    const socket = connect(port, '127.0.0.1');
    await once(server, 'connection');
    await once(socket, 'connect');
    expect(await tcp.next((e) => e['tcpOperation'] === 'ACCEPT' && e['localPort'] === port)).toMatchObject({
      ipVersion: 4,
      localAddress: '127.0.0.1',
      remoteAddress: '127.0.0.1',
    });
    socket.destroy();
    server.close();
  });

  it('tells just one story for each of many connections at once', async () => {
    const tcp = await startTracker('tcp', mine);
    const count = 60;
    const { server, port } = await listen('127.0.0.1', (socket) => socket.pipe(socket));
    const talk = async (bytes: number) => {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      socket.end(Buffer.alloc(bytes));
      let echoed = 0;
      for await (const data of socket) echoed += (data as Buffer).length;
      expect(echoed).toBe(bytes);
    };
    await Promise.all(Array.from({ length: count }, (_, i) => talk(i * 1000)));
    server.close();
    await once(server, 'close');
    // A client's side ends in TIME_WAIT, which is its CLOSE; ask until the kernel has told all.
    for (let i = 0; i < count; i++) {
      await tcp.next((e) => e['tcpOperation'] === 'CLOSE' && e['remotePort'] === port);
      await tcp.next((e) => e['tcpOperation'] === 'CLOSE' && e['localPort'] === port);
    }
    const events = (await tcp.stop()).filter((e) => e['remotePort'] === port || e['localPort'] === port);
    for (const [operation, side] of [
      ['CONNECT', 'remotePort'],
      ['ACCEPT', 'localPort'],
      ['CLOSE', 'localPort'],
      ['CLOSE', 'remotePort'],
    ] as const) {
      expect(events.filter((e) => e['tcpOperation'] === operation && e[side] === port)).toHaveLength(count);
    }
    const sent = events
      .filter((e) => e['tcpOperation'] === 'CLOSE' && e['remotePort'] === port)
      .map((e) => Number(e['sentBytes']));
    expect(sent.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i * 1000));
    expect(events).toHaveLength(4 * count);
  });

  it.each(['127.0.0.1', '::1'])('reports a connect to %s that is refused, blocking and not', async (address) => {
    const tcp = await startTracker('tcp', mine);
    const port = await closedPort(address);
    const { pid } = await work('connect', address, port);
    const refused = {
      errno: 'ECONNREFUSED',
      ipVersion: address.includes(':') ? 6 : 4,
      remoteAddress: address,
      remotePort: port,
      sentBytes: null,
      receivedBytes: null,
    };
    expect(await tcp.next(at('CONNECT_FAILED', pid))).toMatchObject({ ...refused, process: { comm: 'workload' } });
    await expect(once(connect(port, address), 'connect')).rejects.toThrow('ECONNREFUSED');
    expect(await tcp.next(at('CONNECT_FAILED', process.pid))).toMatchObject(refused);
    const events = (await tcp.stop()).filter((e) => e['remotePort'] === port);
    expect(events).toHaveLength(2);
  });

  it('reports a connect that fails before a packet leaves', async () => {
    const tcp = await startTracker('tcp', mine);
    const broadcast = await work('connect', '255.255.255.255', 9);
    expect(Number(broadcast.stdout)).toBeLessThan(0);
    const seen = await tcp.next(at('CONNECT_FAILED', broadcast.pid));
    expect(seen).toMatchObject({
      errno: expect.stringMatching(/^E(NETUNREACH|ACCES|HOSTUNREACH)$/) as string,
      remoteAddress: '255.255.255.255',
      remotePort: 9,
      ipVersion: 4,
    });
    // In a network namespace of its own there is no route at all.
    const { stdout } = await ended(start('unshare', ['--net', await workloadPath(), 'connect', '192.0.2.1', '80']));
    expect(stdout).toBe('-101');
    expect(await tcp.next((e) => e['remoteAddress'] === '192.0.2.1')).toMatchObject({
      tcpOperation: 'CONNECT_FAILED',
      errno: 'ENETUNREACH',
      remotePort: 80,
    });
    expect((await tcp.stop()).filter((e) => e['remoteAddress'] === '192.0.2.1')).toHaveLength(1);
  });

  it('has no address and no port where none was named, none of another family, and none that the socket never had', async () => {
    const tcp = await startTracker('tcp', mine);
    const { pid, stdout } = await work('no-address');
    const results = stdout.split('\n').map(Number);
    const nothing = { localAddress: null, localPort: null, remoteAddress: null, remotePort: null, ipVersion: null };
    expect(results.slice(0, 4)).toEqual([-97, -22, -14, -97]); // EAFNOSUPPORT, EINVAL, EFAULT
    const next = (errno: string) => tcp.next((e) => at('CONNECT_FAILED', pid)(e) && e['errno'] === errno);
    expect(await next('EAFNOSUPPORT')).toMatchObject(nothing);
    expect(await next('EINVAL')).toMatchObject(nothing);
    expect(await next('EFAULT')).toMatchObject(nothing);
    expect(await next('EAFNOSUPPORT')).toMatchObject({
      ...nothing,
      remoteAddress: '::1',
      remotePort: 81,
      ipVersion: 6,
    });
    expect(await tcp.next((e) => e['remoteAddress'] === '255.255.255.255')).toMatchObject({
      ...nothing,
      remoteAddress: '255.255.255.255',
      remotePort: 80,
      ipVersion: 4,
    });
    const bound = await next('EFAULT');
    expect(bound).toMatchObject({
      ...nothing,
      localAddress: '127.0.0.1',
      localPort: expect.any(Number) as number,
      ipVersion: 4,
    });
    expect(bound['localPort']).not.toBe(0);
    expect(JSON.stringify(await tcp.stop())).not.toMatch(/"0\.0\.0\.0"|"::"/);
  });

  it('reports an attempt that its process gives up', async () => {
    const tcp = await startTracker('tcp', mine);
    const { pid, code, stdout } = await work('give-up');
    expect(code).toBe(0);
    expect(await tcp.next(at('CONNECT_FAILED', pid))).toMatchObject({
      errno: 'ECANCELED',
      remoteAddress: '127.0.0.1',
      remotePort: Number(stdout),
    });
    const operations = (await tcp.stop())
      .filter(({ process: { pid: of } }) => of === pid)
      .map((e) => e['tcpOperation']);
    expect(operations.filter((operation) => operation === 'CONNECT_FAILED')).toHaveLength(1);
    expect(operations.filter((operation) => operation === 'CONNECT')).toHaveLength(1);
  });

  it('tells of a reset as of a close', async () => {
    const tcp = await startTracker('tcp', mine);
    const { server, port } = await listen('127.0.0.1', (socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.resetAndDestroy());
    });
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('12345');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(await tcp.next((e) => e['tcpOperation'] === 'CLOSE' && e['localPort'] === port)).toMatchObject({
      receivedBytes: '5',
      sentBytes: '0',
    });
    expect(await tcp.next((e) => e['tcpOperation'] === 'CLOSE' && e['remotePort'] === port)).toMatchObject({
      sentBytes: '5',
      receivedBytes: '0',
    });
    server.close();
  });

  it('reports only the operations that were asked for', async () => {
    const closes = await startTracker('tcp', { ...mine, options: { operations: ['CLOSE'] } });
    const both = await startTracker('tcp', { ...mine, options: { operations: ['CONNECT', 'CONNECT_FAILED'] } });
    const { port } = await exchange('127.0.0.1', { up: 10, down: 10 });
    const refused = await closedPort('127.0.0.1');
    await work('connect', '127.0.0.1', refused);
    await closes.next((e) => e['remotePort'] === port);
    await closes.next((e) => e['localPort'] === port);
    expect((await closes.stop()).map((e) => e['tcpOperation'])).toEqual(['CLOSE', 'CLOSE']);
    expect((await both.stop()).map((e) => e['tcpOperation'])).toEqual(['CONNECT', 'CONNECT_FAILED']);
  });

  it('filters by the process that connected, also where the kernel acts for it later', async () => {
    const { server, port } = await listen('127.0.0.1', (socket) => socket.end('bye'));
    const tcp = await startTracker('tcp', { pids: [process.pid], descendants: false });
    const { pid } = await work('talk', '127.0.0.1', port, 0, 3);
    await tcp.next((e) => e['tcpOperation'] === 'CLOSE' && e['localPort'] === port);
    server.close();
    const events = (await tcp.stop()).filter((e) => e['localPort'] === port || e['remotePort'] === port);
    expect(events.map((e) => e['tcpOperation'])).toEqual(['ACCEPT', 'CLOSE']);
    expect(events.every((e) => e.process.pid === process.pid && e.process.pid !== pid)).toBe(true);
  });
});
