import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/support/store.js';
import { acceptedSocket, isServer, isService, listenerAt, serverCheck } from './listener.js';

const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const row = (local: string, remote: string, state: string, uid: number, inode: number): string =>
  `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000 ${uid}        0 ${inode} 1 0000000000000000 100 0 0 10 0\n`;
const ends = (address: string, remotePort: number) => ({
  localAddress: address,
  localPort: 4000,
  remoteAddress: address,
  remotePort,
});

describe('the socket that a server has accepted', () => {
  const tables: Readonly<Record<string, string>> = {
    '/proc/net/tcp':
      head +
      row('0100007F:0FA0', '00000000:0000', '0A', 1, 11) +
      row('0100007F:0FA0', '0100007F:0001', '01', 2, 12) +
      row('0100007F:0FA0', '0100007F:0002', '01', 0, 0) +
      row('0100007F:0FA0', '0100007F:0003', '06', 0, 14),
    '/proc/net/tcp6':
      head +
      row('00000000000000000000000001000000:0FA0', '00000000000000000000000001000000:0001', '01', 5, 15) +
      row('0000000000000000FFFF00000100007F:0FA0', '0000000000000000FFFF00000100007F:0004', '01', 6, 16),
  };
  const find = (address: string, remotePort: number) =>
    acceptedSocket(ends(address, remotePort), (name) => tables[name] ?? '');

  it('is found by both ends, in the table of its family or as an IPv6 socket that takes IPv4', () => {
    expect(find('127.0.0.1', 1)).toEqual({ uid: 2, inode: 12 });
    expect(find('::1', 1)).toEqual({ uid: 5, inode: 15 });
    expect(find('127.0.0.1', 4)).toEqual({ uid: 6, inode: 16 });
  });

  it('is nobody’s before it is accepted, and after it was closed', () => {
    expect(find('127.0.0.1', 2)).toBeNull();
    expect(find('127.0.0.1', 3)).toBeNull();
    expect(find('127.0.0.1', 9)).toBeNull();
    expect(find('fe80::1', 1)).toBeNull();
  });

  it('is found of a real connection; whoever is no Eunomia server is not trusted', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const socket = connect(typeof address === 'object' && address ? address.port : 0, '127.0.0.1');
    const [[accepted]] = await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
    const { localPort = 0, remotePort = 0 } = socket;
    expect(
      acceptedSocket({
        localAddress: '127.0.0.1',
        localPort: remotePort,
        remoteAddress: '127.0.0.1',
        remotePort: localPort,
      }),
    ).toMatchObject({ uid: process.geteuid?.() });
    expect(await serverCheck(0)(socket)).toMatchObject({
      reason: expect.stringMatching(/is no Eunomia server but/) as string,
    });
    socket.destroy();
    accepted.destroy();
    server.close();
  });
});

it.each([
  ['0::/system.slice/eunomia.service\n', true],
  ['1:name=systemd:/system.slice/eunomia.service\n0::/\n', true],
  [`0::/system.slice/docker-${'a'.repeat(64)}.scope\n`, false],
  [`0::/system.slice/web.service/libpod-payload-${'a'.repeat(64)}\n`, false],
  [`4:cpu:/docker/${'a'.repeat(64)}\n0::/system.slice/web.service\n`, false],
  ['0::/user.slice/user-1000.slice/user@1000.service\n', false],
  ['0::/machine.slice/systemd-nspawn@web.service\n', false],
  ['0::/\n', false],
  ['', false],
])('takes a process in %j for a service of the system: %s', (text, service) => expect(isService(text)).toBe(service));

it.each([
  [['node', 'dist/main.js', 'serve', '--port', '0'], true],
  [['/usr/bin/node', '/usr/local/bin/eunomia', 'serve'], true],
  [['node', '/opt/main.js', 'replay', 'x.ndjson', '--port', '1'], true],
  [['/usr/bin/docker-proxy', '-proto', 'tcp', '-host-port', '4000'], false],
  [['ssh', '-L', '4000:localhost:4000', 'eunomia'], false],
  [['node', 'dist/main.js', 'run'], false],
  [[''], false],
])('takes %j for a server: %s', (args, server) => expect(isServer(args)).toBe(server));

describe('who listens already', () => {
  const script = `const server = require('node:net').createServer().listen(0, process.argv[3], () => console.log(server.address().port))`;

  it.each(['127.0.0.1', '0.0.0.0', '::'])('is told where it is a server of Eunomia, at %s', async (host) => {
    const { path, remove } = await temporaryDirectory();
    await writeFile(join(path, 'main.js'), script);
    const child = spawn(process.execPath, [join(path, 'main.js'), 'serve', host], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [port] = (await once(child.stdout, 'data')) as [Buffer];
      expect(await listenerAt('127.0.0.1', Number(port))).toBe(`another Eunomia server (process ${child.pid})`);
    } finally {
      child.kill();
      await once(child, 'exit');
      await remove();
    }
  });

  it('is told by name where it is another program, and not taken for who listens at another address', async () => {
    const other = createServer().listen(0, '127.0.0.2');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    try {
      expect(await listenerAt('127.0.0.2', port)).toMatch(new RegExp(`^.+ \\(process ${process.pid}\\)$`));
      expect(await listenerAt('0.0.0.0', port)).toContain(`(process ${process.pid})`);
      expect(await listenerAt('127.0.0.1', port)).toBe('another program');
    } finally {
      other.close();
    }
  });
});
