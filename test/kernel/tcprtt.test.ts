import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Bucket } from '../../src/event/event.js';
import { whole } from '../support/loop.js';
import { createHarness, startTracker, Tracked, type Seen, type TrackOptions } from '../support/session.js';
import { specOf } from '../support/spec.js';
import { compileC, ended, firstLine, run, start } from '../support/workload.js';

/**
 * ADDRESS TIMES early|late: prints its port, and a child connects to it, before or after something comes on standard input. Then they
 * exchange so many messages. Each waits before it sends, and its acknowledgement goes along: so what the other one measures changes each
 * time. Each prints its pid and what the kernel says of its end (TCP_INFO) after each exchange: smoothed round-trip time and deviation, in
 * whole microseconds.
 */
const source = `
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static struct tcp_info samples[1000];
static int n;
static void sample(int fd)
{
	socklen_t size = sizeof(struct tcp_info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &samples[n++], &size)) exit(3);
}
static void exchange(int fd, int times, int sends)
{
	int off = 0;
	char byte = 'x';
	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off)); /* acknowledges with what it sends */
	sample(fd);
	for (int i = 0; i < times; i++) {
		if (sends) { usleep(i % 2 ? 1000 : 4000); if (write(fd, &byte, 1) != 1) exit(4); }
		if (read(fd, &byte, 1) != 1) exit(5);
		if (!sends) { sample(fd); usleep(i % 2 ? 2000 : 6000); if (write(fd, &byte, 1) != 1) exit(6); }
		if (sends) sample(fd);
	}
	if (sends) shutdown(fd, SHUT_WR);
	if (read(fd, &byte, 1)) exit(7);
	sample(fd);
	if (!sends) shutdown(fd, SHUT_WR);
	/* Until its FIN is acknowledged too. */
	for (sample(fd); samples[n - 1].tcpi_state != TCP_CLOSE; sample(fd)) { n--; usleep(1000); }
	close(fd);
	printf("%s %d", sends ? "client" : "server", getpid());
	for (int i = 0; i < n; i++) printf(" %u/%u", samples[i].tcpi_rtt, samples[i].tcpi_rttvar);
	printf("\\n"); fflush(stdout);
}
int main(int argc, char **argv)
{
	int ipv6 = !!strchr(argv[1], ':'), listener = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0), go[2];
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in a4 = { .sin_family = AF_INET };
	struct sockaddr *a = ipv6 ? (void *)&a6 : (void *)&a4;
	socklen_t size = ipv6 ? sizeof(a6) : sizeof(a4);
	int early = !strcmp(argv[3], "early"), fd = -1;
	char byte;
	inet_pton(ipv6 ? AF_INET6 : AF_INET, argv[1], ipv6 ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr);
	if (bind(listener, a, size) || listen(listener, 9) || getsockname(listener, a, &size) || pipe(go)) return 2;
	if (!fork()) {
		int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
		close(listener);
		if (!early && read(go[0], &byte, 1) != 1) _exit(8);
		if (connect(fd, a, size)) _exit(9);
		if (early && read(go[0], &byte, 1) != 1) _exit(8);
		exchange(fd, atoi(argv[2]), 1);
		_exit(0);
	}
	if (early) fd = accept(listener, NULL, NULL);
	printf("%d\\n", ntohs(ipv6 ? a6.sin6_port : a4.sin_port)); fflush(stdout);
	if (read(0, &byte, 1) != 1 || write(go[1], "x", 1) != 1) return 10;
	if (!early) fd = accept(listener, NULL, NULL);
	exchange(fd, atoi(argv[2]), 0);
	wait(NULL);
	return 0;
}
`;

/** COUNT: connects to so many addresses of loopback, one after the other, to itself. */
const scatterSource = `
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	struct linger reset = { 1, 0 };
	socklen_t size = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (void *)&a, size) || listen(listener, 8) || getsockname(listener, (void *)&a, &size)) return 2;
	for (int i = 0; i < atoi(argv[1]); i++) {
		int client = socket(AF_INET, SOCK_STREAM, 0), server;
		a.sin_addr.s_addr = htonl(0x7f000001 + i);
		if (connect(client, (void *)&a, sizeof(a)) || (server = accept(listener, NULL, NULL)) < 0) return 3;
		setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)); /* nothing waits for 60 s */
		close(client);
		close(server);
	}
	return 0;
}
`;

let program = '';
let scatter = '';
beforeAll(async () => {
  program = await compileC('rttload', source);
  scatter = await compileC('rttscatter', scatterSource);
});

interface End {
  readonly pid: number;
  /** In microseconds: each other than the one before, as it is only then counted. */
  readonly rtts: readonly number[];
  readonly deviations: readonly number[];
}

function endOf(line: string): End {
  const [, pid = '', ...samples] = line.trim().split(' ');
  const changes = samples.filter((sample, i) => sample !== samples[i - 1]).map((sample) => sample.split('/'));
  return {
    pid: Number(pid),
    rtts: changes.map(([rtt]) => Number(rtt)),
    deviations: changes.map(([, deviation]) => Number(deviation)),
  };
}

const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
const total = (events: readonly Seen[], field: string) => sum(events.map((event) => Number(event[field])));
const buckets = (events: readonly Seen[]) => events.flatMap((event) => event['srttHistogramNs'] as readonly Bucket[]);
const counted = (events: readonly Seen[]) => sum(buckets(events).map(({ count }) => Number(count)));

interface Exchange {
  readonly options?: (port: number) => TrackOptions;
  readonly host?: string;
  readonly times?: number;
  /** What is there when the session starts. */
  readonly there?: 'nothing' | 'listener' | 'connection';
}

async function exchange({ options = () => ({}), host = '127.0.0.1', times = 20, there = 'nothing' }: Exchange) {
  const track = (port: number) => startTracker('tcprtt', { pids: [process.pid], ...options(port) });
  let tracked = there === 'nothing' ? await track(0) : null;
  const child = start(program, [host, String(times), there === 'connection' ? 'early' : 'late']);
  const over = ended(child);
  const port = Number(await firstLine(child));
  tracked ??= await track(port);
  child.stdin?.end('x');
  const { code, stdout } = await over;
  expect(code).toBe(0);
  const lines = stdout.split('\n');
  const [client, server] = ['client', 'server'].map((side) => endOf(lines.find((line) => line.startsWith(side)) ?? ''));
  if (!client || !server) throw new Error(stdout);
  const all = await tracked.stop();
  const of = ({ pid }: End) => all.filter((event) => event.process.pid === pid);
  return {
    port,
    client,
    server,
    events: { client: of(client), server: of(server), all },
    stats: await tracked.stats(),
  };
}
type Exchanged = Awaited<ReturnType<typeof exchange>>;

const sawAll = ({ events, client, server }: Exchanged) =>
  total(events.client, 'count') === client.rtts.length && total(events.server, 'count') === server.rtts.length;

/** The sums of the events are those of what the kernel told the process, which leaves out fractions of a microsecond. */
function compare(events: readonly Seen[], { rtts, deviations }: End) {
  const count = total(events, 'count');
  expect(count).toBe(rtts.length);
  expect(counted(events)).toBe(count);
  for (const [field, values] of [
    ['srttNs', rtts],
    ['deviationNs', deviations],
  ] as const) {
    expect(total(events, field)).toBeGreaterThanOrEqual(1000 * sum(values));
    expect(total(events, field)).toBeLessThan(1000 * (sum(values) + count));
  }
  const least = sum(buckets(events).map(({ from, count }) => from * Number(count)));
  expect(total(events, 'srttNs')).toBeGreaterThanOrEqual(least);
  expect(total(events, 'srttNs')).toBeLessThan(2 * least + 2 * count);
}

describe('the tracker tcprtt', () => {
  it.each([
    ['127.0.0.1', 'nothing'],
    ['127.0.0.1', 'listener'],
    ['::1', 'nothing'],
  ] as const)(
    'counts each change of the average of both ends once, as TCP_INFO has it: %s, %s before',
    async (host, there) => {
      const run = await whole(() => exchange({ host, there }), sawAll);
      const { events, client, server, port, stats } = run;
      // The handshake, each exchange, and the FIN.
      expect([client.rtts.length, server.rtts.length]).toEqual([22, 22]);
      compare(events.client, client);
      compare(events.server, server);
      const common = { tracker: 'tcprtt', ipVersion: host === '::1' ? 6 : 4, remoteAddress: host };
      for (const event of events.client)
        expect(event).toMatchObject({ ...common, remotePort: port, localPort: null, process: { comm: 'rttload' } });
      for (const event of events.server)
        expect(event).toMatchObject({ ...common, remotePort: null, localPort: port, process: { comm: 'rttload' } });
      expect(stats).toMatchObject({ lost: 0, produced: stats.received, discarded: 0 });
    },
  );

  it('counts exactly while its counts are read again and again', async () => {
    const run = await whole(() => exchange({ times: 60, options: () => ({ options: { every: 50 } }) }), sawAll);
    compare(run.events.client, run.client);
    compare(run.events.server, run.server);
    expect(new Set(run.events.client.map(({ bootNs }) => bootNs)).size).toBeGreaterThan(2);
  });

  it('knows the owners of connections from before the session, and not which of them connected', async () => {
    const run = await whole(() => exchange({ there: 'connection' }), sawAll);
    compare(run.events.client, run.client);
    compare(run.events.server, run.server);
    for (const event of run.events.all) expect(event).toMatchObject({ remotePort: null, localPort: null });
  });

  it('is filtered in the kernel by process, address and port', async () => {
    for (const [options, ends] of [
      [(port: number) => ({ where: `remotePort == ${port}` }), ['client']],
      [(port: number) => ({ where: `localPort == ${port}` }), ['server']],
      [() => ({ where: 'localPort == null' }), ['client']],
      [() => ({ where: 'remoteAddress == "127.0.0.1"' }), ['client', 'server']],
      [() => ({ where: 'remoteAddress == "127.0.0.7"' }), []],
      [() => ({ pids: [], comms: ['rttload'] }), ['client', 'server']],
      [() => ({ comms: ['nobody'] }), []],
      [() => ({ descendants: false }), []],
    ] as const) {
      const { events, stats } = await exchange({ options, there: 'listener', times: 2 });
      const seen = (['client', 'server'] as const).filter((end) => events[end].length > 0);
      expect([String(options), seen]).toEqual([String(options), ends]);
      expect([String(options), stats.discarded]).toEqual([String(options), 0]);
    }
  });

  it('counts each round-trip time where there are more peers than room, in an event of its own or as lost', async () => {
    // The same is counted three times: by a session whose maps are read before they are full, and by two whose maps are not read.
    const { manager, trackers, close } = await createHarness({ subscriberBytes: 256 << 20 });
    onTestFinished(close);
    const runtime = trackers.get('tcprtt');
    if (!runtime) throw new Error('no tracker tcprtt');
    const track = async (every: number, ringBytes: number) => {
      const spec = specOf(
        [{ name: 'tcprtt', options: { every } }],
        { ringBytes, bufferBytes: 1 << 30 },
        { comms: ['rttscatter'] },
      );
      return new Tracked(await manager.start(spec), runtime, manager, new Map());
    };
    const often = await track(50, 16 << 20);
    const [roomy, tight] = [await track(3_600_000, 16 << 20), await track(3_600_000, 4096)];
    expect((await run(scatter, ['75000'])).code).toBe(0);
    const seen = { often: await often.stop(), roomy: await roomy.stop(), tight: await tight.stop() };
    const all = total(seen.often, 'count');
    expect(all).toBeGreaterThanOrEqual(75_000);
    expect(new Set(seen.often.map((event) => event['remoteAddress'])).size).toBe(75_000);
    expect((await often.stats()).lost).toBe(0);

    expect([total(seen.roomy, 'count'), (await roomy.stats()).lost]).toEqual([all, 0]);
    expect(counted(seen.roomy)).toBe(all);

    const { produced, lost, received, skippedRuns } = await tight.stats();
    expect(lost).toBeGreaterThan(0);
    expect([produced, received, skippedRuns]).toEqual([lost + received, seen.tight.length, 0]);
    expect(total(seen.tight, 'count') + lost).toBe(all);
  });
});
