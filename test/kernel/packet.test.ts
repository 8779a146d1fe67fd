import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import definition from '../../src/trackers/packet.js';
import { flowSource, rawSource } from '../support/flow.js';
import { whole } from '../support/loop.js';
import { makeNetns, type Netns } from '../support/netns.js';
import { readPcap } from '../support/pcap.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, ended, firstLine, scratch, start } from '../support/workload.js';

let program = '';
/** Nobody else sends there; its loopback device has the MTU of Ethernet, so that TCP makes packets of several segments. */
let netns: Netns;
beforeAll(async () => {
  program = await compileC('packetload', flowSource);
  netns = await makeNetns();
  await netns.run('ip', 'link', 'set', 'lo', 'mtu', '1500');
});

const mine = { pids: [process.pid] };
const wholePackets = { options: { snapLength: 16_384 } };
const sent = (events: readonly Seen[]) => events.filter((event) => event['packetDirection'] === 'SENT');
const received = (events: readonly Seen[]) => events.filter((event) => event['packetDirection'] === 'RECEIVED');
const bytesOf = ({ data }: Seen) => Buffer.from(String(data), 'base64');
const texts = (packets: readonly Buffer[]) => packets.map((bytes) => bytes.toString('hex')).sort();

async function traffic(args: readonly (string | number)[], options: TrackOptions = {}) {
  const tracked = await startTracker('packet', { ...mine, ...options });
  const child = netns.start(program, ...args);
  const over = ended(child);
  const port = Number(await firstLine(child));
  child.stdin?.end('x');
  const { code, stdout } = await over;
  expect(code).toBe(0);
  const events = await tracked.stop();
  const pids = stdout
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => Number(line.split(' ')[0])); // the first one is the port
  return { port, events, pids, stats: await tracked.stats() };
}

let files = 0;
/** The same, and what tcpdump has of it. */
async function witnessed(args: readonly (string | number)[], options: TrackOptions = {}) {
  const file = join(scratch, `packets-${files++}.pcap`);
  const tcpdump = netns.start(
    'tcpdump',
    '-i',
    'lo',
    '-s',
    '66000',
    '-B',
    '65536',
    '-U',
    '--immediate-mode',
    '-Z',
    'root',
    '-w',
    file,
  );
  const over = ended(tcpdump);
  await until('tcpdump listens', async () => ((await readFile(file).catch(() => null))?.length ?? 0) >= 24);
  const run = await traffic(args, options);
  const filed = async () => readPcap(await readFile(file));
  // Where a packet is missing, the run is tried again.
  await until('tcpdump has written them', async () => (await filed()).length >= sent(run.events).length, 5000).catch(
    () => undefined,
  );
  tcpdump.kill('SIGTERM');
  await over;
  return { ...run, filed: await filed() };
}

describe('the tracker packet', () => {
  it.each([
    ['tcp', '127.0.0.1', 200_000],
    ['tcp', '::1', 200_000],
    ['udp', '127.0.0.1', 'connected', 20],
    ['udp', '::1', 'unconnected', 20],
  ])('has the packets that tcpdump has, byte by byte, as sent and as received: %s %s', async (...args) => {
    const { events, filed, port, pids, stats } = await whole(
      () => witnessed(args, wholePackets),
      (run) => run.events.length === 2 * run.filed.length,
    );
    const cut = texts(filed.map((packet) => packet.subarray(0, 16_384)));
    expect(filed.length).toBeGreaterThan(10);
    expect(texts(sent(events).map(bytesOf))).toEqual(cut);
    expect(texts(received(events).map(bytesOf))).toEqual(cut);
    const lengths = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);
    expect(lengths(sent(events).map(({ packetBytes }) => Number(packetBytes)))).toEqual(
      lengths(filed.map(({ length }) => length)),
    );
    const [protocol = '', host = ''] = args as string[];
    for (const event of events) {
      expect(event).toMatchObject({
        protocol: protocol.toUpperCase(),
        ipVersion: host === '::1' ? 6 : 4,
        sourceAddress: host,
        targetAddress: host,
        device: 'lo',
        netNs: netns.inode,
      });
      expect([event['sourcePort'], event['targetPort']]).toContain(port);
      expect(pids).toContain(event.process.pid);
      expect(event['tcpFlags'] === null).toBe(protocol === 'udp');
    }
    expect(stats).toMatchObject({ lost: 0, discarded: 0, produced: stats.received });
  });

  it('knows flags of TCP, and packets that stand for several segments', async () => {
    const { events, port } = await traffic(['tcp', '127.0.0.1', 200_000]);
    const opening = sent(events).filter(({ tcpFlags }) => (tcpFlags as string[]).includes('SYN'));
    expect(opening.map(({ targetPort, tcpFlags }) => [targetPort === port, tcpFlags])).toEqual([
      [true, ['SYN']],
      [false, ['SYN', 'ACK']],
    ]);
    for (const { segments, packetBytes } of events) {
      expect(Number(segments)).toBeGreaterThanOrEqual(Number(packetBytes) / 1500);
      expect(Number(segments)).toBeLessThan(Number(packetBytes) / 1400 + 1);
    }
    expect(events.some(({ segments }) => Number(segments) > 1)).toBe(true);
  });

  it.each([
    [0, null],
    [1, 1],
    [20, 20],
    [16_384, 128],
  ])('captures the first bytes: snapLength %s', async (snapLength, length) => {
    const { events } = await traffic(['udp', '127.0.0.1', 'connected', 1], { options: { snapLength } });
    const [request] = sent(events); // 100 bytes, and headers of 28
    expect(request?.['packetBytes']).toBe(128);
    expect(request?.['data'] === null ? null : request && bytesOf(request).length).toBe(length);
  });

  it('captures no bytes that nobody demands', async () => {
    const { events } = await traffic(['udp', '127.0.0.1', 'connected', 1], { capture: 'DEMANDED' });
    expect(events.map(({ data }) => data)).toEqual([null, null, null, null]);
  });

  it.each(['SENT', 'RECEIVED'])('has the direction that is asked for: %s', async (direction) => {
    const { events, stats } = await traffic(['udp', '127.0.0.1', 'connected', 5], {
      options: { directions: [direction] },
    });
    expect(events.map(({ packetDirection }) => packetDirection)).toEqual(Array.from({ length: 10 }, () => direction));
    expect(stats.discarded).toBe(0);
  });

  it.each([
    ['protocol == "UDP"', 4],
    ['protocol == "TCP"', 0],
    ['protocol == null', 0],
    ['packetDirection == "SENT" && packetBytes > 100', 1],
    ['packetBytes < 128', 2],
    ['cidr("127.0.0.0/8").containsIP(sourceAddress)', 4],
    ['targetAddress == "10.0.0.1"', 0],
    ['sourcePort == null', 0],
    ['targetPort > 0', 4],
  ])('is filtered in the kernel: %s', async (where, count) => {
    const { events, stats } = await traffic(['udp', '127.0.0.1', 'connected', 1], { where });
    expect([events.length, stats.discarded]).toEqual([count, 0]);
  });

  it.each([
    [undefined, 3],
    ['ipVersion == null', 2],
    ['sourceAddress == null', 2],
    ['targetAddress != null', 1],
    ['cidr("::/0").containsIP(sourceAddress)', 0],
    ['sourceAddress == "0.0.0.0"', 1],
  ])('has no address of what is no IP packet, which a raw socket may send: %s', async (where, count) => {
    const tracked = await startTracker('packet', { ...mine, ...(where === undefined ? {} : { where }) });
    expect((await ended(netns.start(await compileC('rawload', rawSource)))).code).toBe(0);
    const events = sent(await tracked.stop());
    expect(events.length).toBe(count);
    for (const { ipVersion, sourceAddress, targetAddress, protocol, packetBytes } of events)
      expect([ipVersion, sourceAddress, targetAddress, protocol]).toEqual(
        packetBytes === 60 ? [4, '0.0.0.0', '0.0.0.0', '0'] : [null, null, null, null],
      );
  });

  it('has nothing of processes outside of the target', async () => {
    const other = start('sleep', ['60']);
    const { events, stats } = await traffic(['udp', '127.0.0.1', 'connected', 5], { pids: [other.pid ?? 0] });
    expect([events.length, stats.produced]).toEqual([0, 0]);
  });

  it.each([-1, 16_385])('refuses a length that cannot be: %s', (snapLength) => {
    expect(() => definition.check?.({ snapLength }, 'input.trackers[0].packet')).toThrow(
      `input.trackers[0].packet.snapLength: is ${snapLength}; give 0 to 16384 bytes`,
    );
  });
});
