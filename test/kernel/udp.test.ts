import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { flowSource } from '../support/flow.js';
import { expectExactLoss } from '../support/loss.js';
import { makeNetns, type Netns } from '../support/netns.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { compileC, ended, firstLine, run, scratch, start } from '../support/workload.js';

let program = '';
let netns: Netns;
beforeAll(async () => {
  program = await compileC('flowload', flowSource);
  netns = await makeNetns();
});

const mine = { pids: [process.pid] };
const SENT = 100;
const ANSWERED = 10;

async function datagrams(host: string, how: string, count: number, options: TrackOptions = mine) {
  const tracked = await startTracker('udp', options);
  const child = start(program, ['udp', host, how, String(count)]);
  const over = ended(child);
  const port = Number(await firstLine(child));
  child.stdin?.end('x');
  const { code, stdout } = await over;
  expect(code).toBe(0);
  const [client, server] = stdout
    .split('\n')
    .filter((line) => line.includes(' '))
    .map((line) => Number(line.split(' ')[0]));
  const events = await tracked.stop();
  const at = (pid: number | undefined, operation: string) =>
    events.filter((event) => event.process.pid === pid && event['udpOperation'] === operation);
  return { port, client, server, events, at, stats: await tracked.stats() };
}

describe('the tracker udp', () => {
  it.each([
    ['127.0.0.1', 'connected'],
    ['127.0.0.1', 'unconnected'],
    ['127.0.0.1', 'blind'],
    ['::1', 'connected'],
    ['::1', 'unconnected'],
  ])('reports each datagram at both ends, with the other end: %s, %s', async (host, how) => {
    const { port, client, server, events, at, stats } = await datagrams(host, how, 5);
    const common = { errno: null, ipVersion: host === '::1' ? 6 : 4, tracker: 'udp' };
    const clientPort = at(client, 'SEND')[0]?.['localPort'] as number;
    expect(clientPort).toBeGreaterThan(0);
    const served = { remoteAddress: host, remotePort: port };
    const asked = { remoteAddress: host, remotePort: clientPort };
    for (const [pid, operation, payload, fields] of [
      [client, 'SEND', SENT, { localPort: clientPort, ...served }],
      [server, 'RECEIVE', SENT, { localAddress: host, localPort: port, ...asked }],
      [server, 'SEND', ANSWERED, { localAddress: host, localPort: port, ...asked }],
      [
        client,
        'RECEIVE',
        ANSWERED,
        { localPort: clientPort, ...(how === 'blind' ? { remoteAddress: null, remotePort: null } : served) },
      ],
    ] as const) {
      const seen = at(pid, operation);
      expect(seen).toHaveLength(5);
      for (const event of seen)
        expect(event).toMatchObject({
          ...common,
          ...fields,
          payloadBytes: String(payload),
          process: { comm: 'flowload' },
        });
    }
    expect(events).toHaveLength(20);
    expect(stats).toMatchObject({ produced: 20, received: 20, lost: 0, discarded: 0 });
    const clientAddress = how === 'connected' ? host : host === '::1' ? '::' : '0.0.0.0';
    expect(at(client, 'RECEIVE')[0]?.['localAddress']).toBe(clientAddress);
  });

  it('agrees with strace about each call', async () => {
    const file = join(scratch, 'udp.strace');
    const tracked = await startTracker('udp', mine);
    const calls = ['-f', '-qq', '-e', 'trace=sendto,recvfrom', '-e', 'signal=none', '-o', file];
    const child = start('strace', [...calls, program, 'udp', '127.0.0.1', 'unconnected', '7']);
    const over = ended(child);
    await firstLine(child);
    child.stdin?.end('x');
    expect((await over).code).toBe(0);
    const events = await tracked.stop();
    const texts = (await readFile(file, 'utf8')).split('\n');
    const results = (name: string) =>
      texts.filter((line) => line.includes(name)).flatMap((line) => /= (\d+)$/.exec(line)?.[1] ?? []);
    const bytes = (operation: string) =>
      events.filter((event) => event['udpOperation'] === operation).map((event) => event['payloadBytes']);
    expect(bytes('SEND').sort()).toEqual(results('sendto').sort());
    expect(bytes('RECEIVE').sort()).toEqual(results('recvfrom').sort());
    expect(bytes('SEND')).toHaveLength(14);
  });

  it('reports what is sent through io_uring', async () => {
    const tracked = await startTracker('udp', mine);
    const { pid, code } = await run(program, ['uring', '5099', '4']);
    expect(code).toBe(0);
    const seen = (await tracked.stop()).filter((event: Seen) => event.process.pid === pid);
    expect(seen).toHaveLength(4);
    for (const event of seen)
      expect(event).toMatchObject({
        udpOperation: 'SEND',
        payloadBytes: '7',
        remoteAddress: '127.0.0.1',
        remotePort: 5099,
      });
  });

  it('reports what a firewall refuses, with its error, and takes no address from it for the next call', async () => {
    await netns.iptables('-A', 'OUTPUT', '-p', 'udp', '--dport', '5098', '-j', 'DROP');
    const tracked = await startTracker('udp', { ...mine, options: { failedOnly: true } });
    const { code } = await netns.run(program, 'again', 5098, 3);
    expect(code).toBe(9); // it ends with the first error
    const failed = { udpOperation: 'SEND', errno: 'EPERM', payloadBytes: '0', remotePort: 5098, netNs: netns.inode };
    expect(await tracked.stop()).toMatchObject([failed]);
  });

  it('is filtered in the kernel by process, operation, address and port', async () => {
    for (const [options, count] of [
      [mine, 12],
      [{ ...mine, options: { operations: ['RECEIVE'] } }, 6],
      [{ ...mine, where: 'udpOperation == "SEND"' }, 6],
      [{ ...mine, where: 'errno != null' }, 0],
      [{ ...mine, where: 'remoteAddress == null' }, 3],
      [{ ...mine, where: 'remoteAddress == "127.0.0.1"' }, 9],
      [{ ...mine, where: 'localAddress == "0.0.0.0"' }, 6],
      [{ ...mine, where: 'remotePort == 1' }, 0],
      [{ ...mine, where: 'remotePort == null' }, 3],
      [{ ...mine, where: 'localPort < 1024' }, 0],
      [{ comms: ['flowload'] }, 12],
      [{ ...mine, comms: ['nobody'] }, 0],
      [{ pids: [process.pid], descendants: false }, 0],
    ] as const) {
      const { events, stats } = await datagrams('127.0.0.1', 'blind', 3, options as TrackOptions);
      expect([options, events.length, stats.produced, stats.discarded]).toEqual([options, count, count, 0]);
    }
  });

  it('counts exactly what a small ring has no room for', async () => {
    await expectExactLoss('udp', mine, 20_000, () => run(program, ['again', '5097', '20000']));
  });
});
