import { beforeAll, describe, expect, it } from 'vitest';
import { whole } from '../support/loop.js';
import { makeNetns, type Netns } from '../support/netns.js';
import { startTracker, type TrackOptions } from '../support/session.js';
import { until } from '../support/until.js';
import { ended, firstLine } from '../support/workload.js';

/** Sends so many datagrams to a port. */
const sender = `
const socket = require('node:dgram').createSocket(process.argv[1].includes(':') ? 'udp6' : 'udp4');
const [host, port, times] = [process.argv[1], Number(process.argv[2]), Number(process.argv[3])];
(async () => {
  for (let i = 0; i < times; i++) await new Promise((resolve) => socket.send('0123456789', port, host, () => resolve()));
  socket.close();
})();
`;
/** The same, once it has received a datagram. Prints its port before and a word after. */
const hard = `
const s = require('node:dgram').createSocket({ type: 'udp4', recvBufferSize: 2304 });
const { writeSync, readSync } = require('node:fs');
s.bind(0, '127.0.0.1', () => writeSync(1, s.address().port + '\\n'));
s.once('message', () => {
  writeSync(1, 'heard\\n');
  readSync(0, Buffer.alloc(1));
  process.exit();
});
`;
/** A socket with a small buffer that is never read: what comes while it blocks, and its buffer is full, is dropped. Prints its port. */
const deaf = `
const s = require('node:dgram').createSocket({ type: 'udp4', recvBufferSize: 2304 });
s.bind(0, '127.0.0.1', () => {
  require('node:fs').writeSync(1, s.address().port + '\\n');
  require('node:fs').readSync(0, Buffer.alloc(1));
  process.exit();
});
`;

let netns: Netns;
beforeAll(async () => {
  netns = await makeNetns();
});

async function drops(times: number, port: number, options: TrackOptions = {}, host = '127.0.0.1') {
  const tracked = await startTracker('drop', options);
  const { code, pid } = await netns.run(process.execPath, '-e', sender, host, port, times);
  expect(code).toBe(0);
  const events = (await tracked.stop()).filter((e) => e['netNs'] === netns.inode);
  return { events, pid, stats: await tracked.stats() };
}

describe('the tracker drop', () => {
  it.each(['INPUT', 'OUTPUT'])(
    'reports each packet that a rule of %s drops, as the rule counts them',
    async (chain) => {
      await netns.iptables('-A', chain, '-p', 'udp', '--dport', '5001', '-j', 'DROP');
      try {
        const run = await whole(
          async () => {
            const before = (await netns.matched(chain))[0] ?? 0;
            const seen = await drops(20, 5001);
            return { ...seen, dropped: ((await netns.matched(chain))[0] ?? 0) - before };
          },
          ({ events, dropped }) => events.length === dropped,
        );
        expect(run.dropped).toBe(20);
        expect(run.events).toHaveLength(20);
        for (const event of run.events)
          expect(event).toMatchObject({
            tracker: 'drop',
            dropReason: 'NETFILTER_DROP',
            location: expect.stringMatching(/^\w+$/) as string,
            protocol: 'UDP',
            ipVersion: 4,
            sourceAddress: '127.0.0.1',
            targetAddress: '127.0.0.1',
            targetPort: 5001,
            packetBytes: 38,
            etherType: 2048,
            netNs: netns.inode,
            device: chain === 'INPUT' ? 'lo' : null,
          });
        expect(new Set(run.events.map((e) => e['sourcePort'])).size).toBe(1);
      } finally {
        await netns.iptables('-D', chain, '-p', 'udp', '--dport', '5001', '-j', 'DROP');
      }
    },
  );

  it('reports datagrams for a port that nobody has, of IPv4 and IPv6', async () => {
    for (const host of ['127.0.0.1', '::1']) {
      const { events } = await whole(
        () => drops(3, 5002, {}, host),
        (run) => run.events.length === 3,
      );
      expect(events).toMatchObject(
        Array.from({ length: 3 }, () => ({
          dropReason: 'NO_SOCKET',
          protocol: 'UDP',
          ipVersion: host === '::1' ? 6 : 4,
          sourceAddress: host,
          targetAddress: host,
          targetPort: 5002,
          packetBytes: host === '::1' ? 58 : 38,
          process: { pid: 0, comm: '' },
        })),
      );
    }
  });

  it('names the process whose buffer is full', async () => {
    const server = netns.start(process.execPath, '-e', deaf);
    const over = ended(server);
    const port = Number(await firstLine(server));
    const tracked = await startTracker('drop', { pids: [process.pid] });
    const before = (await netns.counters()).get('Udp.RcvbufErrors') ?? 0;
    expect((await netns.run(process.execPath, '-e', sender, '127.0.0.1', port, 50)).code).toBe(0);
    const full = ((await netns.counters()).get('Udp.RcvbufErrors') ?? 0) - before;
    const events = (await tracked.stop()).filter((e) => e['targetPort'] === port);
    server.stdin?.end('x');
    await over;
    expect(full).toBeGreaterThan(10);
    expect(events).toHaveLength(full);
    expect(events[0]).toMatchObject({
      dropReason: 'SOCKET_RCVBUFF',
      netNs: netns.inode,
      process: { pid: server.pid, comm: 'node' },
    });
  });

  it('names the process of a UDP socket that is made during the session', async () => {
    const tracked = await startTracker('drop', { pids: [process.pid] });
    const server = netns.start(process.execPath, '-e', hard);
    let said = '';
    const over = ended(server);
    server.stdout?.on('data', (text: string) => (said += text));
    await until('the server listens', () => /^\d+\n/.test(said));
    const port = Number(said.split('\n')[0]);
    expect((await netns.run(process.execPath, '-e', sender, '127.0.0.1', port, 1)).code).toBe(0);
    await until('it has received', () => said.includes('heard'));
    const before = (await netns.counters()).get('Udp.RcvbufErrors') ?? 0;
    expect((await netns.run(process.execPath, '-e', sender, '127.0.0.1', port, 50)).code).toBe(0);
    const full = ((await netns.counters()).get('Udp.RcvbufErrors') ?? 0) - before;
    const events = (await tracked.stop()).filter((e) => e['targetPort'] === port);
    server.stdin?.end('x');
    await over;
    expect(full).toBeGreaterThan(10);
    expect(events).toHaveLength(full);
    for (const event of events) expect(event.process).toMatchObject({ pid: server.pid, comm: 'node' });
  });

  it('is filtered in the kernel by reason, place, address, port and process', async () => {
    for (const [options, count] of [
      [{ where: `dropReason == "NO_SOCKET" && targetPort == 5003` }, 4],
      [{ where: 'targetPort == 5003 && location.startsWith("__udp4")' }, 4],
      [{ where: 'targetPort == 5003 && targetAddress == "127.0.0.1"' }, 4],
      [{ where: 'targetPort == 5003', options: { unspecified: true, otherProtocols: true } }, 4],
      [{ where: 'targetPort == 5003 && dropReason == "NETFILTER_DROP"' }, 0],
      [{ where: 'targetPort == 5003 && sourceAddress == "127.0.0.2"' }, 0],
      [{ where: 'targetPort == 5003 && location == "nowhere"' }, 0],
      [{ where: 'targetPort == 1 && sourcePort == 1' }, 0],
      [{ pids: [process.pid], where: 'targetPort == 5003' }, 0],
    ] as const) {
      const { events, stats } = await whole(
        () => drops(4, 5003, options as TrackOptions),
        (run) => run.events.length === count,
      );
      expect([options, events.length]).toEqual([options, count]);
      expect([options, stats.produced, stats.lost, stats.discarded]).toEqual([options, stats.received, 0, 0]);
    }
  });

  it('loses nothing silently where the ring is full', async () => {
    const { stats } = await drops(3000, 5004, { where: 'targetPort == 5004', ringBytes: 4096, bufferBytes: 1 << 16 });
    expect(stats.produced).toBe(stats.lost + stats.received);
    expect(stats.produced).toBeGreaterThan(2900); // see whole
    expect(stats.produced).toBeLessThanOrEqual(3000);
  });
});
