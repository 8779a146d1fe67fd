import { beforeAll, describe, expect, it } from 'vitest';
import { whole } from '../support/loop.js';
import { makeNetns, type Netns } from '../support/netns.js';
import { startTracker, type TrackOptions } from '../support/session.js';

const mine = { pids: [process.pid] };

/** Connects to a port that nobody listens on; then is connected and closed with unread data, and with SO_LINGER 0. Prints the ports. */
const script = `
const net = require('node:net'), [host, times] = [process.argv[1], Number(process.argv[2])], { once } = require('node:events');
const ports = { refused: [], unread: [], lingering: [] };
(async () => {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, host);
  await once(server, 'listening');
  const { port } = server.address();
  const connection = async (text, end) => {
    const client = net.connect(port, host);
    client.on('error', () => 0);
    const [[served]] = await Promise.all([once(server, 'connection'), once(client, 'connect')]);
    const closed = new Promise((resolve) => client.once('close', resolve));
    if (text) await new Promise((resolve) => client.write(text, resolve));
    const { remotePort } = served;
    end(served);
    await closed;
    return remotePort;
  };
  for (let i = 0; i < times; i++) {
    ports.unread.push(await connection('unread', (served) => served.destroy()));
    ports.lingering.push(await connection('', (served) => served.resetAndDestroy()));
  }
  server.close();
  await once(server, 'close');
  for (let i = 0; i < times; i++) {
    const client = net.connect(port, host);
    await once(client, 'error');
  }
  console.log(JSON.stringify({ port, ...ports }));
})();
`;

interface Ports {
  readonly port: number;
  readonly unread: readonly number[];
  readonly lingering: readonly number[];
}

let netns: Netns;
beforeAll(async () => {
  netns = await makeNetns();
  // Counts only.
  for (const chain of ['INPUT', 'OUTPUT']) await netns.iptables('-A', chain, '-p', 'tcp', '--tcp-flags', 'RST', 'RST');
});

async function resets(times: number, options: TrackOptions = {}, host = '127.0.0.1') {
  const tracked = await startTracker('tcpreset', options);
  const counts = async () => [
    (await netns.counters()).get('Tcp.OutRsts') ?? 0,
    (await netns.matched('OUTPUT'))[0] ?? 0,
    (await netns.matched('INPUT'))[0] ?? 0,
  ];
  const before = await counts();
  const { stdout, code, pid } = await netns.run(process.execPath, '-e', script, host, times);
  expect(code).toBe(0);
  const ports = JSON.parse(stdout) as Ports;
  const [kernel = 0, sent = 0, received = 0] = (await counts()).map((count, i) => count - (before[i] ?? 0));
  const events = (await tracked.stop()).filter((e) => e['localPort'] === ports.port || e['remotePort'] === ports.port);
  return { events, ports, pid, counted: { kernel, sent, received }, stats: await tracked.stats() };
}

describe('the tracker tcpreset', () => {
  it('reports each reset at both ends, as the kernel and the packet filter count them, and why it was sent', async () => {
    const times = 5;
    const { events, counted, pid, ports } = await whole(
      () => resets(times),
      (run) => run.events.length === 2 * run.counted.sent,
    );
    expect(counted).toEqual({ kernel: 3 * times, sent: 3 * times, received: 3 * times });
    const of = (port: number, direction: string) =>
      events.filter((e) => e['direction'] === direction && (e['localPort'] === port || e['remotePort'] === port));
    expect([of(ports.port, 'SENT').length, of(ports.port, 'RECEIVED').length]).toEqual([3 * times, 3 * times]);
    const loopback = { ipVersion: 4, localAddress: '127.0.0.1', remoteAddress: '127.0.0.1' };
    const server = { ...loopback, process: { pid, comm: 'node' }, localPort: ports.port };
    const client = { ...loopback, process: { pid, comm: 'node' }, remotePort: ports.port, resetReason: null };
    for (const [list, reason] of [
      [ports.unread, 'TCP_ABORT_ON_CLOSE'],
      [ports.lingering, expect.stringMatching(/^TCP_(STATE|ABORT_ON_LINGER)$/) as string],
    ] as const)
      for (const port of list) {
        expect(of(port, 'SENT')).toMatchObject([{ ...server, remotePort: port, state: 'CLOSE', resetReason: reason }]);
        expect(of(port, 'RECEIVED')).toMatchObject([{ ...client, localPort: port, state: 'ESTABLISHED' }]);
      }
    const refused = events.filter((e) => e['state'] === null || e['state'] === 'SYN_SENT');
    expect(refused.filter((e) => e['direction'] === 'SENT')).toMatchObject(
      Array.from({ length: times }, () => ({
        ...loopback,
        localPort: ports.port,
        state: null,
        resetReason: 'NO_SOCKET',
        process: { pid: 0, comm: '' },
        container: null,
      })),
    );
    expect(refused.filter((e) => e['direction'] === 'RECEIVED')).toMatchObject(
      Array.from({ length: times }, () => ({ ...client, state: 'SYN_SENT' })),
    );
  });

  it('reports resets of IPv6', async () => {
    const { events, pid, counted } = await resets(1, {}, '::1');
    expect(counted).toMatchObject({ kernel: 3 });
    expect(events).toHaveLength(6);
    for (const event of events)
      expect(event).toMatchObject({ ipVersion: 6, localAddress: '::1', remoteAddress: '::1' });
    expect(events.filter((e) => e.process.pid === pid)).toHaveLength(5);
  });

  it('is filtered in the kernel by process, direction, address, port, state and reason', async () => {
    for (const [options, count] of [
      [mine, 5],
      [{ ...mine, options: { directions: ['SENT'] } }, 2],
      [{ ...mine, where: 'direction == "RECEIVED"' }, 3],
      [{ where: 'resetReason == "NO_SOCKET"' }, 1],
      [{ where: 'resetReason == "TCP_ABORT_ON_CLOSE"' }, 1],
      [{ where: 'resetReason.startsWith("NO_SO")' }, 1],
      [{ where: 'resetReason == null' }, 3],
      [{ ...mine, where: 'resetReason != "TCP_STATE"' }, 1],
      [{ ...mine, where: '!(resetReason == "TCP_STATE")' }, 4],
      [{ ...mine, where: 'localAddress == "10.0.0.1"' }, 0],
      [{ pids: [process.pid], descendants: false }, 0],
      [{ comms: ['nobody'] }, 0],
    ] as const) {
      const { events, stats } = await whole(
        () => resets(1, options as TrackOptions),
        (run) => run.events.length === count,
      );
      expect([options, events.length]).toEqual([options, count]);
      expect(stats.produced).toBe(stats.lost + stats.received);
      if ('pids' in options) expect([options, stats.discarded]).toEqual([options, 0]);
    }
  });
});
