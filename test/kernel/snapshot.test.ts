import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, readdir, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { root } from '../../src/base/paths.js';
import { FilterFields, filterOf } from '../../src/filter/index.js';
import { KernelThread } from '../../src/kernel/thread.js';
import { snapshotTypes, SnapshotReader, type SnapshotKind } from '../../src/snapshot/reader.js';
import type { Owner } from '../../src/snapshot/rows.js';
import { openFlags } from '../../src/tracker/open-flags.js';
import { heldIds, heldPrograms, released } from '../support/bpf.js';
import { harness } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, firstLine, scratch, start } from '../support/workload.js';

const exec = promisify(execFile);

let program = '';
let reader: SnapshotReader;
beforeAll(async () => {
  program = await compileC('snapshots', await readFile(join(root, 'test/support/snapshot.c'), 'utf8'));
  const { kernel, registry } = await harness();
  reader = new SnapshotReader(kernel, registry);
});

interface Seen {
  readonly process: { readonly pid: number; readonly tid: number; readonly ppid: number; readonly comm: string };
  readonly owners: readonly Owner[];
  readonly [field: string]: unknown;
}

async function take(kind: SnapshotKind, expr?: string): Promise<readonly Seen[]> {
  const { name, type, noun } = snapshotTypes[kind];
  const fields = new FilterFields(contractSchema(), undefined, { filter: `${type}Filter`, type, noun });
  const where = expr === undefined ? null : filterOf({ expr }, fields, [name]);
  const { rows, complete } = await reader.take(kind, where?.matches ?? null);
  expect(complete).toBe(true);
  return rows.map((row) => row as object as Seen);
}

/** The inode number of a process's namespace. */
async function namespaceOf(pid: number, kind: string): Promise<string> {
  return /\d+/.exec(await readlink(`/proc/${pid}/ns/${kind}`))?.[0] ?? '';
}

describe('sockets of a network namespace', () => {
  let pid = 0;
  let seen: readonly Seen[] = [];
  let net = '';

  beforeAll(async () => {
    const path = join(scratch, 'listener.sock');
    const child = start('unshare', ['--net', program, 'sockets', path]);
    await firstLine(child);
    pid = child.pid ?? 0;
    net = await namespaceOf(pid, 'net');
    // The child and the thread of the workload have come to rest.
    seen = await until('all sockets are there', async () => {
      const found = await take('sockets', `netNs == ${net}`);
      const owners = found.flatMap((socket) => socket.owners.map(({ process }) => process));
      const isThere = owners.some(({ comm }) => comm === 'the child') && owners.some((one) => one.pid !== one.tid);
      return isThere ? found : null;
    });
  });

  /** What ss says there, a line for each socket. */
  async function ss(flags: string): Promise<string[][]> {
    const { stdout } = await exec('nsenter', [`--net=/proc/${pid}/ns/net`, 'ss', `-HOanp${flags}`], {
      maxBuffer: 1 << 24,
    });
    return stdout.split('\n').flatMap((line) => (line.trim() ? [line.trim().split(/\s+/)] : []));
  }
  const state: Record<string, string> = { ESTAB: 'ESTABLISHED', UNCONN: 'CLOSE' };
  const owners = (text: string): string[] =>
    [...text.matchAll(/\("([^"]*)",pid=(\d+),fd=(\d+)\)/g)]
      .map(([, comm = '', of = '', fd = '']) => `${comm} ${of} ${fd}`)
      .sort();
  const ownersOf = (socket: Seen): string[] =>
    socket.owners
      .filter(({ process }) => process.pid === process.tid)
      .flatMap(({ process, fds }) => fds.map((fd) => `${process.comm} ${process.pid} ${fd}`))
      .sort();
  const hostOf = (address: unknown): string => {
    const text = String(address);
    return text.includes(':') ? `[${text}]` : text;
  };
  /** ss knows no descriptors of threads. */
  const isOfThread = (socket: Seen): boolean => socket.owners.every(({ process }) => process.tid !== process.pid);

  it('TCP and UDP are those of ss, with ends, state, queues, round-trip time and owners, and no others', async () => {
    const theirs = (await ss('tuei')).flatMap((words) => {
      const [protocol = '', its = '', receive = '', send = '', local = '', remote = '', ...rest] = words;
      const text = rest.join(' ');
      const inode = /\bino:(\d+)/.exec(text)?.[1];
      if (inode === undefined || inode === '0') return []; // nobody has it open: it waits to be accepted
      const number = (name: string): string | null => new RegExp(`\\b${name}:(\\d+)`).exec(text)?.[1] ?? null;
      const [, srtt, variation] = /\brtt:([\d.]+)\/([\d.]+)/.exec(text) ?? [];
      const isTcp = protocol === 'tcp' && its !== 'LISTEN' && its !== 'UNCONN';
      const ns = (ms: string | undefined) => (ms === undefined ? null : String(Math.round(Number(ms) * 1e6)));
      return [
        {
          inode,
          protocol: protocol.toUpperCase(),
          state: state[its] ?? its,
          local: local.replace(/^\*:/, '[::]:'),
          remote: remote.endsWith(':*') ? null : remote,
          receive: isTcp ? Number(receive) : its === 'LISTEN' ? Number(receive) : null,
          send: isTcp || its === 'LISTEN' ? Number(send) : null,
          rtt: isTcp ? ns(srtt) : null,
          variation: isTcp ? ns(variation) : null,
          cwnd: isTcp ? Number(number('cwnd')) : null,
          mss: isTcp ? Number(number('mss')) : null,
          received: isTcp ? (number('bytes_received') ?? '0') : null,
          sent: isTcp ? (number('bytes_sent') ?? '0') : null,
          owners: owners(text),
        },
      ];
    });
    const ours = seen
      .filter((socket) => ['TCP', 'UDP'].includes(String(socket['protocol'])) && !isOfThread(socket))
      .filter((socket) => socket['localPort'] !== 0) // ss lists only what has a port
      .map((socket) => ({
        inode: socket['inode'],
        protocol: socket['protocol'],
        state: socket['state'],
        local: `${hostOf(socket['localAddress'])}:${String(socket['localPort'])}`,
        remote:
          socket['remoteAddress'] === null
            ? null
            : `${hostOf(socket['remoteAddress'])}:${String(socket['remotePort'])}`,
        receive: socket['receiveQueueBytes'] ?? socket['backlog'],
        send: socket['sendQueueBytes'] ?? socket['backlogLimit'],
        rtt: socket['srttNs'],
        variation: socket['rttVariationNs'],
        cwnd: socket['cwnd'],
        mss: socket['mssBytes'],
        received: socket['receivedBytes'],
        sent: socket['sentBytes'],
        owners: ownersOf(socket),
      }));
    const byInode = (a: { inode: unknown }, b: { inode: unknown }) => Number(a.inode) - Number(b.inode);
    expect(theirs.length).toBeGreaterThanOrEqual(10);
    expect(ours).toEqual(theirs.sort(byInode));
    const exchanged = ours.find(({ received, receive }) => received === String(20 * 999 + 5) && receive === 5);
    expect(exchanged).toMatchObject({ sent: '180', state: 'ESTABLISHED' });
    expect(Number(exchanged?.rtt)).toBeGreaterThan(0);
  });

  it('listening ones can be selected', async () => {
    const ours = await take('sockets', `netNs == ${net} && listening && protocol == "TCP"`);
    const theirs = (await ss('tle')).map((words) => /\bino:(\d+)/.exec(words.join(' '))?.[1]);
    expect(ours.map(({ inode }) => inode).sort()).toEqual(theirs.sort());
    expect(theirs).toHaveLength(2);
    const udp = await take('sockets', `netNs == ${net} && listening && protocol == "UDP"`);
    expect(udp.map((socket) => socket['localAddress']).sort()).toEqual(['127.0.0.1', '::1']);
  });

  it('unix sockets have their path, abstract names too, and the socket at the other end', async () => {
    const theirs = (await ss('x')).map(
      ([type = '', its = '', , limit = '', path = '', inode = '', , peer = '', ...rest]) => ({
        type,
        inode,
        state: its === 'UNCONN' ? 'CLOSE' : its === 'ESTAB' ? 'ESTABLISHED' : its,
        path: path === '*' ? null : path,
        peer: peer === '0' ? null : peer,
        limit: its === 'LISTEN' ? Number(limit) : null,
        owners: owners(rest.join(' ')),
      }),
    );
    const types: Record<string, string> = { SOCK_STREAM: 'u_str', SOCK_SEQPACKET: 'u_seq', SOCK_DGRAM: 'u_dgr' };
    const ours = seen
      .filter((socket) => socket['family'] === 'AF_UNIX')
      .map((socket) => ({
        type: types[String(socket['socketType'])],
        inode: socket['inode'],
        state: socket['state'],
        path: socket['path'],
        peer: socket['peerInode'],
        limit: socket['backlogLimit'],
        owners: ownersOf(socket),
      }));
    const byInode = (a: { inode: unknown }, b: { inode: unknown }) => Number(a.inode) - Number(b.inode);
    expect(ours).toEqual(theirs.sort(byInode));
    expect(ours.map(({ path }) => path)).toEqual(
      expect.arrayContaining([join(scratch, 'listener.sock'), '@snap@shot']),
    );
  });

  it('each descriptor that /proc shows of a socket is in it, of threads with descriptors of their own too', async () => {
    const expected: string[] = [];
    for (const process of new Set(seen.flatMap((socket) => socket.owners.map((owner) => owner.process.pid))))
      for (const tid of await readdir(`/proc/${process}/task`)) {
        const isLeader = tid === String(process);
        const files = await readdir(`/proc/${process}/task/${tid}/fd`);
        const links = await Promise.all(
          files.map(async (fd) => `${fd} ${await readlink(`/proc/${process}/task/${tid}/fd/${fd}`)}`),
        );
        // Their standard streams are sockets of another namespace: the test's.
        const own = links.filter((link) => /^(?:[3-9]|\d\d+) socket:/.test(link));
        // Threads share the table of the first one, but for the one that has its own.
        if (isLeader || links.some((link) => link.startsWith('900 ')))
          for (const one of own) expected.push(`${tid} ${one}`);
      }
    const ours = seen.flatMap((socket) =>
      socket.owners.flatMap(({ process, fds }) =>
        fds.map((fd) => `${process.tid} ${fd} socket:[${String(socket['inode'])}]`),
      ),
    );
    expect(ours.sort()).toEqual(expected.sort());
    expect(ours.some((one) => / 900 socket:/.test(one))).toBe(true);
  });

  it('other families say which they are', () => {
    const others = seen.filter((socket) => !['AF_INET', 'AF_INET6', 'AF_UNIX'].includes(String(socket['family'])));
    expect(
      others.map(({ family, protocol, state: its, localAddress }) => [family, protocol, its, localAddress]),
    ).toEqual([['AF_NETLINK', null, null, null]]);
    const raw = seen.find((socket) => socket['socketType'] === 'SOCK_RAW' && socket['family'] === 'AF_INET');
    expect(raw).toMatchObject({ protocol: 'ICMP', localPort: null, remoteAddress: null, listening: false });
  });
});

describe('processes', () => {
  it('are those of /proc, a thousand at once, with the same facts', async () => {
    const copy = join(scratch, 'replaced');
    await copyFile(program, copy);
    const child = start('unshare', ['--pid', '--fork', '--kill-child', '--net', copy, 'processes', '1000']);
    expect(await firstLine(child)).toBe('ready');
    const [parent] = await take('processes', `process.ppid == ${child.pid ?? 0}`);
    const pid = parent?.process.pid ?? 0;
    await rm(copy);
    const isAtRest = (rows: readonly Seen[]): boolean =>
      rows.length === 1002 &&
      rows.filter((row) => row['state'] === 'SLEEPING' && row.process.comm === 'sleeper').length === 1000 &&
      rows.some((row) => row['state'] === 'STOPPED') &&
      rows.some((row) => row['state'] === 'ZOMBIE');
    const children = await until('all children are at rest', async () => {
      const rows = await take('processes', `process.ppid == ${pid}`);
      return isAtRest(rows) ? rows : null;
    });
    const { stdout } = await exec('pgrep', ['-P', String(pid)], { maxBuffer: 1 << 24 });
    expect(children.map(({ process }) => process.pid)).toEqual(
      stdout
        .trim()
        .split('\n')
        .map(Number)
        .sort((a, b) => a - b),
    );

    const letters: Record<string, string> = { SLEEPING: 'S', STOPPED: 'T', ZOMBIE: 'Z', RUNNING: 'R' };
    const again = await take('processes', `process.pid == ${pid}`);
    const sample = [...again, ...children.filter((row, i) => i < 3 || row['state'] !== 'SLEEPING')];
    expect(sample).toHaveLength(6);
    for (const row of sample) {
      const of = row.process.pid;
      const status = await readFile(`/proc/${of}/status`, 'latin1');
      const value = (name: string) => new RegExp(`^${name}:\\t(.*)$`, 'm').exec(status)?.[1] ?? null;
      const isZombie = row['state'] === 'ZOMBIE';
      expect({
        comm: row.process.comm,
        state: letters[String(row['state'])],
        threads: row['threads'],
        ownPid: row['ownPid'],
        pidNs: row['pidNs'],
        netNs: row['netNs'],
        executable: row['executable'],
        deleted: row['executableDeleted'],
        hasMemory: row['residentBytes'] !== null,
      }).toEqual({
        comm: value('Name'),
        state: value('State')?.charAt(0),
        threads: Number(value('Threads')),
        ownPid: Number(value('NSpid')?.split('\t').at(-1)),
        pidNs: isZombie ? row['pidNs'] : await namespaceOf(of, 'pid'),
        netNs: isZombie ? null : await namespaceOf(of, 'net'),
        executable: isZombie ? null : (await readlink(`/proc/${of}/exe`)).replace(/ \(deleted\)$/, ''),
        deleted: isZombie ? null : true,
        hasMemory: !isZombie,
      });
      if (isZombie) continue;
      const bytes = (name: string) => Number(/\d+/.exec(value(name) ?? '')?.[0]) * 1024;
      expect(Number(row['virtualBytes'])).toBe(bytes('VmSize'));
      // The kernel adds up what CPUs hold for themselves only now and then: 32 pages a CPU and kind at least.
      expect(Math.abs(Number(row['residentBytes']) - bytes('VmRSS'))).toBeLessThan(4 << 20);
    }
    expect(again[0]).toMatchObject({ threads: 5, ownPid: 1, kernelThread: false, executableState: 'ROOTED' });
  });

  it('of the kernel have no memory and no executable', async () => {
    const [kthreadd] = await take('processes', 'process.pid == 2');
    expect(kthreadd).toMatchObject({ kernelThread: true, executable: null, residentBytes: null, ownPid: 2 });
    expect((await take('processes', 'kernelThread')).length).toBeGreaterThan(5);
  });

  it('are each there once, the reader among them, whoever else asks meanwhile', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => take('processes')));
    for (const rows of all) {
      const pids = rows.map(({ process }) => process.pid);
      expect(new Set(pids).size).toBe(pids.length);
      expect(pids).toEqual(expect.arrayContaining([2, process.pid]));
    }
  });
});

describe('open files', () => {
  it('are those of /proc, with path, type, flags, position and file, seen from the namespace of the process', async () => {
    const folder = join(scratch, 'files');
    await mkdir(folder);
    // In a mount namespace of its own, where its paths lead to the root as they do in ours.
    const child = start('unshare', ['--mount', program, 'files', folder]);
    expect(await firstLine(child)).toBe('ready');
    const pid = child.pid ?? 0;
    const seen = await take('openFiles', `process.pid == ${pid}`);
    const fds = (await readdir(`/proc/${pid}/fd`)).map(Number).sort((a, b) => a - b);
    expect(seen.map(({ fd }) => fd)).toEqual(fds);
    expect(fds.length).toBeGreaterThanOrEqual(15);
    const types: Record<string, string> = {
      '1': 'FIFO',
      '2': 'CHARACTER_DEVICE',
      '4': 'DIRECTORY',
      '8': 'REGULAR',
      a: 'SYMBOLIC_LINK',
      c: 'SOCKET',
    };
    for (const row of seen) {
      const link = `/proc/${pid}/fd/${String(row['fd'])}`;
      const path = await readlink(link);
      const info = await readFile(`/proc/${pid}/fdinfo/${String(row['fd'])}`, 'latin1');
      const [, position, flags = ''] = /^pos:\t(\d+)\nflags:\t(\d+)/.exec(info) ?? [];
      const { stdout } = await exec('stat', ['-L', '--format', '%Hd:%Ld %i %f', link]);
      const [device, inode, mode = ''] = stdout.trim().split(' ');
      const isMemfd = path.startsWith('/memfd:');
      expect(row).toMatchObject({ position, inode, device });
      expect([path, row['path']]).toEqual([path, isMemfd ? path : path.replace(/ \(deleted\)$/, '')]);
      expect([path, row['deleted']]).toEqual([path, path.endsWith(' (deleted)')]);
      expect([path, row['pathState']]).toEqual([path, path.startsWith('/') && !isMemfd ? 'ROOTED' : 'ANONYMOUS']);
      expect([path, row['type']]).toEqual([path, mode.length < 4 ? null : types[mode.charAt(0)]]);
      expect([path, row['flags']]).toEqual([path, openFlags(BigInt(Number.parseInt(flags, 8) & ~0o2000000))]);
    }
    const named = (end: string) => seen.find(({ path }) => String(path).endsWith(end));
    expect(named('/regular')).toMatchObject({
      position: '5',
      flags: expect.arrayContaining(['O_RDWR', 'O_APPEND']) as string[],
    });
    expect(named('/removed')).toMatchObject({ deleted: true, position: '3', pathState: 'ROOTED' });
    expect(named('[eventfd]')).toMatchObject({ type: null, fileSystem: 'anon_inodefs' });
    const removed = await take(
      'openFiles',
      `process.pid == ${pid} && deleted && type == "REGULAR" && "O_WRONLY" in flags`,
    );
    expect(removed.map(({ fd }) => fd)).toEqual([named('/removed')?.['fd'], 700]);
  });
});

describe('a process whose first thread has ended', () => {
  it('has each table of descriptors once, however many threads share it', async () => {
    const child = start(program, ['leaderless']);
    expect(await firstLine(child)).toBe('ready');
    const pid = Number(child.pid);
    const threads = (await readdir(`/proc/${pid}/task`)).map(Number).filter((tid) => tid !== pid);
    expect(threads).toHaveLength(5);
    const files = await take('openFiles', `process.pid == ${pid}`);
    const fdsOf = (tid: number) =>
      files.filter(({ process }) => process.tid === tid).map((row) => `${String(row['fd'])} ${String(row['path'])}`);
    const tids = [...new Set(files.map(({ process }) => process.tid))];
    expect(tids).toHaveLength(2);
    for (const tid of tids) {
      const names = await readdir(`/proc/${pid}/task/${tid}/fd`);
      const links = names.map(async (fd) => `${fd} ${await readlink(`/proc/${pid}/task/${tid}/fd/${fd}`)}`);
      expect(fdsOf(tid).sort()).toEqual((await Promise.all(links)).sort());
    }
    const sockets = await take('sockets', `process.pid == ${pid} && family == "AF_INET"`);
    const owned = sockets
      .map(({ owners }) => owners.map(({ process, fds }) => ({ tid: process.tid, fds })))
      .sort((a, b) => b.length - a.length);
    // The one from before is in both tables, the other one in one.
    expect(owned.map((owners) => owners.map(({ tid }) => tid))).toEqual([tids, tids.slice(1)]);
    expect(owned.flat().every(({ fds }) => fds.includes(800) || fds.includes(900))).toBe(true);
  });
});

describe('the kernel', () => {
  const alone = new KernelThread();
  afterAll(() => alone.close());

  it('holds the program of an iterator that somebody has read, once, and nothing at the end', async () => {
    const { registry } = await harness();
    const before = heldIds();
    const other = new SnapshotReader(alone, registry);
    await Promise.all([other.take('sockets', null), other.take('sockets', null), other.take('processes', null)]);
    const after = heldIds();
    const made = {
      programs: new Set([...after.programs].filter((id) => !before.programs.has(id))),
      maps: new Set([...after.maps].filter((id) => !before.maps.has(id))),
      links: new Set([...after.links].filter((id) => !before.links.has(id))),
    };
    expect(made.programs.size).toBe(2);
    expect(made.links.size).toBe(0); // only while it is read
    expect(heldPrograms().filter((name) => name === 'snap_socket')).toHaveLength(2); // this one, and the harness's
    await alone.close();
    await released(made);
  });

  it('is asked for an iterator that it does not load, and says why', async () => {
    const { kernel } = await harness();
    const path = join(scratch, 'none.bpf.o');
    await expect(kernel.snapshot({ name: 'none', path, constants: {}, unneeded: [] })).rejects.toMatchObject({
      code: 'KERNEL_ERROR',
      message: expect.stringMatching(/opening none\.bpf\.o: ENOENT/) as string,
    });
  });

  it('says that it has iterators', async () => {
    const { kernel } = await harness();
    expect(await kernel.probe()).toContainEqual({ name: 'task_iterator', available: true, reason: null });
  });
});
