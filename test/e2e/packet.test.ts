import { execFile } from 'node:child_process';
import { mkdtemp, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageFile } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { readPcapng } from '../support/pcap.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';
import { until } from '../support/until.js';
import { ended, scratch, start } from '../support/workload.js';

const exec = promisify(execFile);
const main = packageFile('dist/main.js');
let docker: TestDocker;
beforeAll(async () => {
  docker = await startDocker();
  await docker.run('-d', '--name', 'talker', '--network', 'none', TEST_IMAGE, 'sleep', '600');
});
afterAll(() => docker.stop());

/** A server and a client in the container, over a loopback device of its own. */
async function talk(): Promise<void> {
  const client = 'for i in $(seq 300); do nc 127.0.0.1 4711 </dev/null && break; sleep 0.1; done';
  await docker.docker('exec', 'talker', 'sh', '-c', `echo hello | nc -l -p 4711 & ${client}; wait`);
}

function started(program: string, ...args: readonly string[]) {
  const child = start(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const command = { told: '', over: ended(child), interrupt: () => child.kill('SIGINT') };
  child.stderr?.on('data', (chunk) => (command.told += String(chunk)));
  return command;
}

const pcap = (...args: readonly string[]) => started(process.execPath, main, 'pcap', ...args);

const texts = async (file: string) => (await exec('tcpdump', ['-nn', '-r', file])).stdout.trim().split('\n');

it('eunomia pcap writes the packets of a container, until Ctrl-C', async () => {
  const file = join(scratch, 'talk.pcapng');
  const command = pcap(
    ...['--engine', docker.socket, '--container', 'talker', '--snap', '1500', '-o', file],
    ...['--where', 'targetPort == 4711'],
  );
  await until('it captures', () => command.told.includes('capturing'));
  await talk();
  command.interrupt();
  expect((await command.over).code).toBe(0);
  const { packets, statistics } = readPcapng(await readFile(file));
  expect(command.told).toContain(`${file}: ${packets.length} packets, 0 lost, ${(await stat(file)).size} bytes`);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(packets.length).toBeGreaterThan(5);
  for (const { device, options } of packets) {
    expect(device).toBe('talker');
    expect(options.get(1)?.toString()).toMatch(/^nc, pid \d+$/);
  }
  expect(statistics?.get(5)?.readBigUInt64BE()).toBe(0n);
  const lines = await texts(file);
  expect(lines.length).toBe(packets.length);
  for (const line of lines) expect(line).toMatch(/ IP 127\.0\.0\.1\.\d+ > 127\.0\.0\.1\.4711: Flags /);
});

it('writes to a pipe, and ends after a time', async () => {
  const file = join(scratch, 'piped.pcapng');
  const args = [main, 'pcap', '--engine', docker.socket, '--container', 'talker', '--for', '5s'];
  const command = started('sh', '-c', 'exec "$@" | cat > "$0"', file, process.execPath, ...args);
  await until('it captures', () => command.told.includes('capturing for 5s'));
  await talk();
  await command.over;
  const { packets } = readPcapng(await readFile(file));
  expect(packets.length).toBeGreaterThan(10);
  expect(command.told).toContain(`${packets.length} packets, 0 lost`);
});

it.each([
  [['--snap', '16385'], /--snap: "16385" is no whole number from 0 to 16384/],
  [['--where', 'port == 1'], /--where: .*port/],
  [['--for', '10', '-o', join(scratch, 'none')], /^eunomia: --for: Duration cannot be "10"/],
])('refuses what cannot be: %s', async (flags, message) => {
  const command = pcap('--engine', 'none', ...flags);
  expect((await command.over).code).toBe(2);
  expect(command.told).toMatch(message);
});

it('has an interface where no packet came, and tells of a full disk', async () => {
  const file = join(scratch, 'quiet.pcapng');
  const quiet = pcap('--engine', docker.socket, '--container', 'talker', '--for', '100ms', '-o', file);
  expect((await quiet.over).code).toBe(0);
  expect(await texts(file)).toEqual(['']);

  const folder = await mkdtemp(join(scratch, 'full-'));
  const mounted = 'mount -t tmpfs -o size=4k tmpfs "$0" && "$@"; code=$?; ls "$0" >&2; exit $code';
  const args = [process.execPath, main, 'pcap', '--engine', docker.socket, '--container', 'talker'];
  const full = started('unshare', '-m', 'sh', '-c', mounted, folder, ...args, '-o', join(folder, 'full.pcapng'));
  await until('it captures', () => full.told.includes('capturing'));
  let over = false;
  void full.over.then(() => (over = true));
  while (!over) await talk();
  expect((await full.over).code).toBe(1);
  expect(full.told).toMatch(/^capturing; Ctrl-C stops\neunomia: ENOSPC: no space left on device, write\n$/);
});

it('a session has the same packets while it runs, after its end, and from the store', async () => {
  const dataDir = ['--engine', docker.socket, '--data-dir', join(scratch, 'data')];
  let server = await startServer(dataDir);
  const session = await startSession(
    server,
    '{ trackers: [{ packet: {} }, { exec: {} }], target: { containers: [{ name: "talker" }] }, persist: {} }',
  );
  const following = fetch(`${server.url.replace(/graphql$/, '')}export/${session}.pcapng?follow=true`, guarded);
  await talk();
  await stopSession(server, session);
  expect(await statsOf(server, session)).toMatchObject({ lost: 0 });
  const packetsOf = async (response: Response) => {
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/x-pcapng']);
    return readPcapng(Buffer.from(await response.arrayBuffer())).packets;
  };
  const download = async () =>
    packetsOf(await fetch(`${server.url.replace(/graphql$/, '')}export/${session}.pcapng`, guarded));
  const live = await packetsOf(await following);
  expect(live.length).toBeGreaterThan(10);
  for (const { bytes } of live) expect(bytes.length).toBeGreaterThan(39);
  expect(await download()).toEqual(live);
  await server.end('SIGTERM');
  server = await startServer(dataDir);
  expect(await download()).toEqual(live);
});

const guarded = { headers: { 'x-eunomia': '1' } };
