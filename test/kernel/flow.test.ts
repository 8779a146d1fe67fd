import { beforeAll, describe, expect, it } from 'vitest';
import { flowSource, rawSource } from '../support/flow.js';
import { whole } from '../support/loop.js';
import { makeNetns, type Netns } from '../support/netns.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { compileC, ended, firstLine } from '../support/workload.js';

let program = '';
/** Nobody else sends there; its loopback device has the MTU of Ethernet, so that TCP makes packets of several segments. */
let netns: Netns;
beforeAll(async () => {
  program = await compileC('flowload', flowSource);
  netns = await makeNetns();
  await netns.run('ip', 'link', 'set', 'lo', 'mtu', '1500');
});

const mine = { pids: [process.pid] };
const measures = ['sends', 'processSentBytes', 'receives', 'processReceivedBytes'] as const;
const wire = ['wireSentPackets', 'wireSentBytes', 'wireReceivedPackets', 'wireReceivedBytes'] as const;
const total = (events: readonly Seen[], field: string) =>
  events.reduce((sum, event) => sum + Number(event[field] as string), 0);
const totals = (events: readonly Seen[], fields: readonly string[]) => fields.map((field) => total(events, field));
const distinct = (events: readonly Seen[], field: string) => [...new Set(events.map((event) => event[field]))];

/** What a process says of itself, and the events of it. */
interface Side {
  readonly pid: number;
  readonly told: readonly number[];
  readonly segments: readonly number[];
  readonly retransmittedBytes: number;
  readonly events: readonly Seen[];
}

async function loopback(): Promise<{ bytes: number; packets: number }> {
  const { stdout } = await netns.run('cat', '/proc/net/dev');
  const [bytes = 0, packets = 0] = /lo:\s*(.*)/.exec(stdout)?.[1]?.trim().split(/\s+/).map(Number) ?? [];
  return { bytes, packets };
}

async function traffic(args: readonly (string | number)[], options: TrackOptions = mine, early = false) {
  const before = await loopback();
  const before_ = early ? null : await startTracker('flow', options);
  const child = netns.start(program, ...args);
  const over = ended(child);
  const port = Number(await firstLine(child));
  const tracked = before_ ?? (await startTracker('flow', options));
  child.stdin?.end('x');
  const { code, stdout } = await over;
  expect(code).toBe(0);
  const events = await tracked.stop();
  const after = await loopback();
  const lines = stdout
    .trim()
    .split('\n')
    .filter((line) => line.includes(' ')) // the first one is the port
    .map((line) => line.split(' ').map(Number));
  const [client, server] = lines.map(([pid = 0, ...rest]): Side => ({
    pid,
    told: rest.slice(0, 4),
    segments: rest.slice(4, 6),
    retransmittedBytes: rest[6] ?? 0,
    events: events.filter((event) => event.process.pid === pid),
  }));
  if (!client || !server) throw new Error(stdout);
  const device = { bytes: after.bytes - before.bytes, packets: after.packets - before.packets };
  return { port, client, server, events, device, stats: await tracked.stats() };
}

describe('the tracker flow', () => {
  it.each(['127.0.0.1', '::1'])(
    'counts what processes send and receive over TCP, and its packets, as the kernel does itself: %s',
    async (host) => {
      const { port, client, server, stats } = await whole(
        () => traffic(['tcp', host, 1_000_000]),
        ({ client }) => total(client.events, 'wireReceivedPackets') === client.segments[1],
      );
      expect(totals(client.events, measures)).toEqual(client.told);
      expect(totals(server.events, measures)).toEqual(server.told);
      const common = { remoteAddress: host, protocol: 'TCP', ipVersion: host === '::1' ? 6 : 4 };
      for (const event of client.events) expect(event).toMatchObject({ ...common, remotePort: port, localPort: null });
      for (const event of server.events) expect(event).toMatchObject({ ...common, remotePort: null, localPort: port });

      const [packets = 0, bytes = 0, receivedPackets = 0, receivedBytes = 0] = totals(client.events, wire);
      expect([packets, receivedPackets]).toEqual(client.segments);
      expect(packets).toBeGreaterThan(600);
      const headers = host === '::1' ? 72 : 52; // with time stamps; SYN has more
      const least = 1_000_000 + client.retransmittedBytes + packets * headers;
      expect(bytes).toBeGreaterThanOrEqual(least);
      expect(bytes).toBeLessThan(least + 400);
      // What one sends, the other receives.
      expect(totals(server.events, wire)).toEqual([receivedPackets, receivedBytes, packets, bytes]);
      expect(stats.lost).toBe(0);
      expect(stats.produced).toBe(stats.received);
    },
  );

  it.each([
    ['127.0.0.1', 'connected'],
    ['127.0.0.1', 'unconnected'],
    ['127.0.0.1', 'blind'],
    ['::1', 'connected'],
    ['::1', 'unconnected'],
  ])('counts UDP: datagrams as packets, with their peers: %s, %s', async (host, how) => {
    const { port, client, server, events, device } = await whole(
      () => traffic(['udp', host, how, 50]),
      ({ device }) => device.packets === 100,
    );
    expect(totals(client.events, measures)).toEqual([50, 5000, 50, 500]);
    expect(totals(server.events, measures)).toEqual([50, 500, 50, 5000]);
    const headers = host === '::1' ? 48 : 28;
    const sent = [50, 50 * (100 + headers), 50, 50 * (10 + headers)];
    expect(totals(client.events, wire)).toEqual(sent);
    expect(totals(server.events, wire)).toEqual([...sent.slice(2), ...sent.slice(0, 2)]);
    expect(device.bytes).toBe(total(events, 'wireSentBytes'));
    const named = (side: Side) => side.events.filter((event) => event['remoteAddress'] !== null);
    for (const [side, ports] of [
      [client, { remotePort: port, localPort: null }],
      [server, { remotePort: null, localPort: port }],
    ] as const)
      for (const event of named(side))
        expect(event).toMatchObject({
          ...ports,
          remoteAddress: host,
          protocol: 'UDP',
          ipVersion: host === '::1' ? 6 : 4,
        });
    const unnamed = client.events.filter((event) => event['remoteAddress'] === null);
    expect(totals(unnamed, measures)).toEqual(how === 'blind' ? [0, 0, 50, 500] : [0, 0, 0, 0]);
    expect(named(server)).toHaveLength(server.events.length);
  });

  it('knows the owners of sockets that were there before the session', async () => {
    const { client, server, device } = await whole(
      () => traffic(['udp', '127.0.0.1', 'unconnected', 50], mine, true),
      ({ device }) => device.packets === 100,
    );
    expect(device.packets).toBe(100);
    expect(totals(server.events, wire)).toEqual([50, 1900, 50, 6400]);
    expect(totals(client.events, wire)).toEqual([50, 6400, 50, 1900]);
  });

  it('measures one level alone, and counts without peers', async () => {
    const only = async (options: TrackOptions['options']) =>
      traffic(['udp', '127.0.0.1', 'unconnected', 10], { ...mine, options: options ?? {} });
    const process_ = await only({ levels: ['PROCESS'] });
    expect(totals(process_.events, [...measures, ...wire])).toEqual([20, 1100, 20, 1100, 0, 0, 0, 0]);
    const wired = await only({ levels: ['WIRE'] });
    expect(totals(wired.events, [...measures, ...wire])).toEqual([0, 0, 0, 0, 20, 1660, 20, 1660]);
    const merged = await only({ peers: false, every: 3_600_000 });
    expect(totals(merged.events, [...measures, ...wire])).toEqual([20, 1100, 20, 1100, 20, 1660, 20, 1660]);
    expect(distinct(merged.events, 'remoteAddress')).toEqual([null]);
    expect(distinct(merged.events, 'remotePort')).toEqual([null]);
    expect(merged.client.events).toHaveLength(1);
    expect(merged.server.events).toMatchObject([{ localPort: merged.port }]);
  });

  it('is filtered in the kernel by process, address and port', async () => {
    for (const [options, ends] of [
      [mine, ['client', 'server']],
      [{ ...mine, where: 'remotePort != null' }, ['client']],
      [{ ...mine, where: 'remotePort == null' }, ['server']],
      [{ ...mine, where: 'localPort > 1' }, ['server']],
      [{ ...mine, where: 'remoteAddress == "127.0.0.1"' }, ['client', 'server']],
      [{ ...mine, where: 'remoteAddress == "127.0.0.7"' }, []],
      [{ comms: ['flowload'] }, ['client', 'server']],
      [{ ...mine, comms: ['nobody'] }, []],
      [{ pids: [process.pid], descendants: false }, []],
    ] as const) {
      const { client, server, stats } = await traffic(['udp', '127.0.0.1', 'unconnected', 3], options as TrackOptions);
      const seen = [...(client.events.length ? ['client'] : []), ...(server.events.length ? ['server'] : [])];
      expect([options, seen, stats.discarded]).toEqual([options, ends, 0]);
    }
  });

  it('counts what a process sends over the connection of a parent that is not watched as where all are', async () => {
    const script = `use Socket; $| = 1;
        socket(L, PF_INET, SOCK_STREAM, 0); bind(L, sockaddr_in(0, INADDR_LOOPBACK)); listen(L, 1);
        my ($port) = sockaddr_in(getsockname(L)); pipe(R, W); socket(S, PF_INET, SOCK_STREAM, 0);
        unless ($child = fork) { close(W); sysread(R, my $go, 1); syswrite(S, 'x' x 1000); sysread(S, my $got, 100); exit }
        print "$child $port\n"; <STDIN>; connect(S, sockaddr_in($port, INADDR_LOOPBACK)) or die;
        accept(A, L); syswrite(W, 'x'); sysread(A, my $sent, 1000); syswrite(A, 'y' x 100); waitpid($child, 0); exit $?`;
    const parent = netns.start('perl', '-e', script);
    const over = ended(parent);
    const [child = 0, port = 0] = (await firstLine(parent)).split(' ').map(Number);
    const all = await startTracker('flow', {});
    const one = await startTracker('flow', { pids: [child] });
    const filtered = await startTracker('flow', { pids: [child], where: `remotePort == ${port}` });
    parent.stdin?.end('\n');
    expect((await over).code).toBe(0);
    const of = async (tracked: typeof all) =>
      (await tracked.stop())
        .filter((event) => event.process.pid === child)
        .map((event) => [event['remotePort'], event['localPort'], ...totals([event], [...measures, ...wire])]);
    const seen = await of(all);
    expect(seen).toEqual([[port, null, 1, 1000, 1, 100, 0, 0, 0, 0]]);
    expect(await of(one)).toEqual(seen);
    expect(await of(filtered)).toEqual(seen);
  });

  it('has the version of the socket, and no address, for packets of a raw socket that are none of IP', async () => {
    const tracked = await startTracker('flow', { ...mine, options: { levels: ['WIRE'] } });
    expect((await ended(netns.start(await compileC('rawload', rawSource)))).code).toBe(0);
    const events = (await tracked.stop()).filter((event) => event['wireSentPackets'] === '1');
    expect(
      events
        .map(({ ipVersion, remoteAddress, wireSentBytes }) => [wireSentBytes, ipVersion, remoteAddress])
        .sort((a, b) => Number(a[0]) - Number(b[0])),
    ).toEqual([
      ['50', 6, null],
      ['55', 4, null],
      ['60', 4, '0.0.0.0'],
    ]);
  });

  it('counts each call and packet where there are more peers than the maps have room for', async () => {
    const count = 70_000;
    const tracked = await startTracker('flow', {
      ...mine,
      options: { every: 3_600_000 },
      ringBytes: 64 << 20,
      bufferBytes: 1 << 30,
    });
    const { code, stdout, pid } = await ended(netns.start(program, 'scatter', count));
    expect(code).toBe(0);
    const events = (await tracked.stop()).filter((event) => event['remoteAddress'] !== null);
    const { produced, lost, received, skippedRuns } = await tracked.stats();
    expect([lost, skippedRuns]).toEqual([0, 0]);
    expect(produced).toBe(received);
    expect(stdout).toContain(`${count} ${count}`);
    const own = events.filter((event) => event['comm'] !== 'nobody' && event.process.comm === 'flowload');
    expect(pid).toBeGreaterThan(0);
    expect(totals(own, ['sends', 'processSentBytes', 'wireSentPackets', 'wireSentBytes'])).toEqual([
      count,
      count,
      count,
      count * 29,
    ]);
    expect(new Set(own.map((event) => event['remoteAddress'])).size).toBe(count);
    expect(own.some((event) => event['count'] === '1')).toBe(true);
  });

  it('counts as lost what has no room in the maps nor in the ring', async () => {
    const count = 90_000;
    const tracked = await startTracker('flow', {
      ...mine,
      options: { every: 3_600_000, levels: ['PROCESS'] },
      ringBytes: 4096,
      bufferBytes: 1 << 30,
    });
    expect((await ended(netns.start(program, 'scatter', count))).code).toBe(0);
    const events = await tracked.stop();
    const { produced, lost, received } = await tracked.stats();
    expect(lost).toBeGreaterThan(0);
    expect(produced).toBe(lost + received);
    expect(received).toBe(events.length);
    expect(total(events, 'sends') + lost).toBe(count);
  });
});
