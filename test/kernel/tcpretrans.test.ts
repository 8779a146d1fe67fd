import { beforeAll, describe, expect, it } from 'vitest';
import { whole } from '../support/loop.js';
import { makeNetns, type Netns } from '../support/netns.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { compileC, ended, firstLine, workloadPath } from '../support/workload.js';

const mine = { pids: [process.pid] };
const sum = (events: readonly Seen[], field: string) => events.reduce((all, event) => all + Number(event[field]), 0);

/**
 * ADDRESS BYTES: prints its port, and accepts a client for a child, which reads a byte and then sends so many. The process that listens
 * receives nothing.
 */
const forking = `
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static char data[1 << 16];
int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t size = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	long bytes = atol(argv[2]);
	inet_pton(AF_INET, argv[1], &a.sin_addr);
	if (bind(listener, (void *)&a, size) || listen(listener, 9) || getsockname(listener, (void *)&a, &size)) return 2;
	printf("%d\\n", ntohs(a.sin_port)); fflush(stdout);
	int fd = accept(listener, NULL, NULL);
	pid_t child = fork();
	if (child == 0) {
		if (read(fd, data, 1) != 1) _exit(3);
		while (bytes > 0) { long n = write(fd, data, bytes < 65536 ? bytes : 65536); if (n <= 0) _exit(4); bytes -= n; }
		_exit(0);
	}
	close(fd);
	waitpid(child, NULL, 0);
	return 0;
}
`;

let netns: Netns;
let program = '';
beforeAll(async () => {
  netns = await makeNetns();
  program = await workloadPath();
});

const big = ['-m', 'length', '--length', '200:65535'];
const oneIn = (n: number) => ['-m', 'statistic', '--mode', 'nth', '--every', String(n), '--packet', String(n - 1)];

/** What matches is dropped while `work` runs. */
async function dropping<T>(rule: readonly string[], work: () => Promise<T>): Promise<T> {
  const whatever = ['INPUT', '-p', 'tcp', ...rule, '-j', 'DROP'];
  await netns.iptables('-A', ...whatever);
  try {
    return await work();
  } finally {
    await netns.iptables('-D', ...whatever);
  }
}

async function serve(bytes: number, address = '127.0.0.1') {
  const server = netns.start(program, 'serve', address, bytes, 0);
  const over = ended(server);
  const port = Number(await firstLine(server));
  return { pid: server.pid ?? 0, port, over };
}

/** A client sends to a server, and one in so many large packets is dropped. */
async function exchange(bytes: number, every: number, options: TrackOptions = mine) {
  const { port, over, pid: server } = await serve(bytes);
  const tracked = await startTracker('tcpretrans', options);
  const before = await netns.counters();
  const client = await dropping(['--dport', String(port), ...big, ...oneIn(every)], () =>
    netns.run(program, 'talk', '127.0.0.1', port, bytes, 0),
  );
  expect([client.code, (await over).code]).toEqual([0, 0]);
  const after = await netns.counters();
  const events = await tracked.stop();
  const counted = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  return { events, port, client: client.pid, server, counted, stats: await tracked.stats() };
}

describe('the tracker tcpretrans', () => {
  it('reports each segment that is sent again, as the kernel counts them, with its owner', async () => {
    const { events, counted, client, port, stats } = await whole(
      () => exchange(40_000_000, 25),
      (run) => sum(run.events, 'segments') === run.counted('Tcp.RetransSegs'),
    );
    const segments = counted('Tcp.RetransSegs');
    expect(segments).toBeGreaterThan(10);
    expect(sum(events, 'segments')).toBe(segments);
    expect(stats).toMatchObject({ produced: events.length, lost: 0, received: events.length, discarded: 0 });
    for (const event of events) {
      expect(event).toMatchObject({
        tracker: 'tcpretrans',
        ipVersion: 4,
        localAddress: '127.0.0.1',
        remoteAddress: '127.0.0.1',
        remotePort: port,
        errno: null,
        process: { pid: client, comm: 'workload', ppid: process.pid },
      });
      expect(Number(event['payloadBytes'])).toBeGreaterThan(0);
      expect(Number(event['srttNs'])).toBeGreaterThan(0);
      expect(Number(event['congestionWindow'])).toBeGreaterThan(0);
    }
    expect(Math.max(...events.map((e) => Number(e['retransmits'])))).toBe(segments);
    expect(counted('TcpExt.TCPFastRetrans')).toBeGreaterThan(0);
    expect(events.filter((e) => e['retransmitReason'] === 'FAST').length).toBeGreaterThan(0);
    const probes = events.filter((e) => e['retransmitReason'] === 'TAIL_LOSS_PROBE');
    // A probe sends what was not sent yet, if there is any (tcp_send_loss_probe()): that is no retransmission.
    expect(sum(probes, 'segments')).toBeLessThanOrEqual(counted('TcpExt.TCPLossProbes'));
  });

  it('tells a probe and the expiry of the timer from each other', async () => {
    const { port, over } = await serve(1000);
    const tracked = await startTracker('tcpretrans', mine);
    const before = await netns.counters();
    const { timeout, talking } = await dropping(['--dport', String(port), ...big], async () => {
      const talking = netns.run(program, 'talk', '127.0.0.1', port, 1000, 0);
      return { talking, timeout: await tracked.next((e) => e['retransmitReason'] === 'TIMEOUT') };
    });
    expect([(await talking).code, (await over).code]).toEqual([0, 0]);
    const after = await netns.counters();
    const events = await tracked.stop();
    expect(timeout).toMatchObject({
      state: expect.stringMatching(/^(ESTABLISHED|FIN_WAIT1)$/) as string,
      payloadBytes: '1000',
    });
    expect(after.get('TcpExt.TCPTimeouts')).toBeGreaterThan(before.get('TcpExt.TCPTimeouts') ?? 0);
    expect(events[0]).toMatchObject({
      retransmitReason: 'TAIL_LOSS_PROBE',
      segments: 1,
      sequence: timeout['sequence'],
    });
  });

  it.each([
    ['SYN', '--dport'],
    ['SYN,ACK', '--sport'],
  ])('reports a %s that is sent again, of the process that connects or listens', async (flags, side) => {
    const { port, over, pid: server } = await serve(1);
    const tracked = await startTracker('tcpretrans', mine);
    const { event, client } = await dropping([side, String(port), '--tcp-flags', 'SYN,ACK', flags], async () => {
      const talk = netns.start(program, 'talk', '127.0.0.1', port, 1, 0);
      const client = { pid: talk.pid ?? 0, over: ended(talk) };
      const port_ = flags === 'SYN' ? 'remotePort' : 'localPort';
      return { event: await tracked.next((e) => e[port_] === port), client };
    });
    expect(event).toMatchObject({
      retransmitReason: 'HANDSHAKE',
      state: flags === 'SYN' ? 'SYN_SENT' : 'SYN_RECV',
      process: { pid: flags === 'SYN' ? client.pid : server, comm: 'workload' },
      segments: 1,
      payloadBytes: '0',
      retransmits: 1,
      srttNs: null,
    });
    expect(event['congestionWindow'] === null).toBe(flags !== 'SYN');
    expect([(await client.over).code, (await over).code]).toEqual([0, 0]);
  });

  it('knows the owners of sockets from before the session, and which process of a server has a connection', async () => {
    const server = netns.start(await compileC('forking', forking), '127.0.0.1', 2_000_000);
    const over = ended(server);
    const port = Number(await firstLine(server));
    const script = `const s = net.connect(${port}, '127.0.0.1', () => console.log(s.localPort)); s.on('data', () => 0);
      process.stdin.once('data', () => s.write('x')); s.on('close', () => process.exit());`;
    const client = netns.start(process.execPath, '-e', script);
    const clientOver = ended(client);
    const clientPort = Number(await firstLine(client));
    const tracked = await startTracker('tcpretrans', { pids: [process.pid] });
    // The first byte is lost on its way: sent by a process that connected before.
    const first = await dropping(['--dport', String(port)], async () => {
      client.stdin?.write('go');
      return tracked.next((e) => e['localPort'] === clientPort);
    });
    expect(first).toMatchObject({ payloadBytes: '1', process: { pid: client.pid, comm: 'node' } });
    const second = await dropping(['--sport', String(port), ...big, ...oneIn(9)], () =>
      tracked.next((e) => e['localPort'] === port),
    );
    expect(second).toMatchObject({ process: { ppid: server.pid, comm: 'forking' } });
    expect([(await clientOver).code, (await over).code]).toEqual([0, 0]);
  });

  it('is filtered in the kernel by process, address, port, state and reason', async () => {
    const seen = async (options: TrackOptions) => {
      const { events, stats, port } = await exchange(5_000_000, 10, options);
      expect(stats).toMatchObject({ produced: events.length, discarded: 0 });
      return events.filter((e) => e['remotePort'] === port).length > 0;
    };
    for (const [options, any] of [
      [{ ...mine, where: 'localAddress == "127.0.0.1" && state != "LISTEN" && process.comm == "workload"' }, true],
      [{ comms: ['workload'] }, true],
      [{ ...mine, options: { reasons: ['FAST', 'TIMEOUT', 'TAIL_LOSS_PROBE'] } }, true],
      [{ pids: [process.pid], descendants: false }, false],
      [{ comms: ['nobody'] }, false],
      [{ ...mine, options: { reasons: ['HANDSHAKE'] } }, false],
      [{ ...mine, where: 'remoteAddress == "127.0.0.2"' }, false],
      [{ ...mine, where: 'retransmitReason == "OTHER"' }, false],
      [{ ...mine, where: 'localPort == 1' }, false],
      [{ ...mine, where: 'state == "LISTEN"' }, false],
    ] as const)
      expect([options, await seen(options as TrackOptions)]).toEqual([options, any]);
  });

  it('loses nothing silently where the ring is full', async () => {
    const { events, counted, stats } = await exchange(60_000_000, 4, {
      ...mine,
      ringBytes: 4096,
      bufferBytes: 1 << 16,
    });
    expect(counted('Tcp.RetransSegs')).toBeGreaterThan(50);
    expect(stats.produced).toBe(stats.lost + stats.received);
    expect(events.length).toBeLessThanOrEqual(stats.received);
  });
});
