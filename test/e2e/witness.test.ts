import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTracker } from '../support/session.js';
import { run, scratch, start, workloadPath } from '../support/workload.js';
import { until } from '../support/until.js';

/** bpftrace watches the same workload through classic tracepoints: another loader, other hooks, another decoder. */

const comm = `wit-${process.pid}`;
let program = '';
let witness: Witness | null = null;

class Witness {
  readonly lines: string[] = [];
  readonly child: ChildProcess;

  constructor(child: ChildProcess) {
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      let rest = '';
      stream?.setEncoding('utf8').on('data', (text: string) => {
        const parts = (rest + text).split('\n');
        rest = parts.pop() ?? '';
        this.lines.push(...parts);
      });
    }
  }

  /** Does `act` again and again until its trace is here: bpftrace is attached, or has written all before. */
  async sees(what: RegExp, act: () => Promise<unknown>): Promise<void> {
    await until(`bpftrace prints ${what}: ${this.lines.slice(-5).join(' | ')}`, async () => {
      await act();
      return this.lines.some((line) => what.test(line));
    });
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null) return;
    this.child.kill('SIGINT');
    await once(this.child, 'exit');
    const complaint = this.lines.find((line) => line.startsWith('Lost'));
    if (complaint !== undefined) throw new Error(`bpftrace: ${complaint}`);
  }
}

/** Classic tracepoints need tracefs; it is mounted where only bpftrace sees it. */
async function watch(script: string): Promise<Witness> {
  const file = join(scratch, 'witness.bt');
  await writeFile(file, script);
  const command =
    'mount -t tracefs tracefs /sys/kernel/tracing; mount -t debugfs debugfs /sys/kernel/debug; exec bpftrace -B line "$0"';
  witness = new Witness(
    start('unshare', ['--mount', '/bin/sh', '-c', command, file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its own buffers must not be what loses an event.
      env: { ...process.env, BPFTRACE_STRLEN: '128', BPFTRACE_PERF_RB_PAGES: '2048' },
    }),
  );
  return witness;
}

beforeAll(async () => {
  program = join(scratch, comm);
  await copyFile(await workloadPath(), program);
});

afterEach(async () => {
  await witness?.end();
  witness = null;
});

const inOrder = (list: readonly string[]) => [...list].sort();

describe('the same workload, seen by bpftrace', () => {
  it('has the same execs', async () => {
    const seen = await watch(
      `tracepoint:sched:sched_process_exec /comm == "${comm}"/ { printf("exec %d %s\\n", pid, str(args->filename)); }`,
    );
    await seen.sees(/^exec/, () => run(program, ['exit', '0']));
    const exec = await startTracker('exec', { comms: [comm], options: { failed: false } });
    const pids = new Set<number>();
    for (let round = 0; round < 25; round++)
      for (const { pid } of await Promise.all(Array.from({ length: 8 }, () => run(program, ['exit', '0']))))
        pids.add(pid);
    const ours = (await exec.stop()).map((e) => `exec ${e.process.pid} ${String(e['filename'])}`);
    const last = await run(program, ['exit', '0']);
    await seen.sees(new RegExp(`^exec ${last.pid} `), async () => {});
    await seen.end();
    const theirs = seen.lines.filter((line) => pids.has(Number(line.split(' ')[1])));
    expect(pids.size).toBe(200);
    expect(inOrder(ours)).toEqual(inOrder(theirs));
    expect(ours).toHaveLength(200);
  });

  it('has the same opens, with the same results', async () => {
    const enter = (call: string) =>
      `tracepoint:syscalls:sys_enter_${call} /comm == "${comm}"/ { @path[tid] = args->filename; @call[tid] = 1; }`;
    const exit = (call: string) =>
      `tracepoint:syscalls:sys_exit_${call} /@call[tid]/ { printf("open %d %d %s\\n", pid, args->ret, ` +
      'str(@path[tid])); delete(@path[tid]); delete(@call[tid]); }';
    // creat names its path otherwise, so its enter differs.
    const creat =
      `tracepoint:syscalls:sys_enter_creat /comm == "${comm}"/ { @path[tid] = args->pathname; @call[tid] = 1; } ` +
      `${exit('creat')}`;
    const calls = ['open', 'openat', 'openat2'];
    const seen = await watch(
      [...calls.flatMap((call) => [enter(call), exit(call)]), creat, 'END { clear(@path); clear(@call); }'].join('\n'),
    );
    for (const call of [...calls, 'creat'])
      await seen.sees(new RegExp(`/no/begin-${call}$`), () => run(program, [call, `/no/begin-${call}`, '0', '0']));
    const open = await startTracker('open', { comms: [comm] });
    const pids = new Set<number>();
    const work = async (...args: (string | number)[]) => pids.add((await run(program, args.map(String))).pid);
    for (let i = 0; i < 20; i++) {
      for (const call of calls) {
        await work(call, '/etc/passwd', 0, 0);
        await work(call, `/no/${call}-${i}`, 0, 0);
        await work(call, join(scratch, `made-${call}-${i}`), 0o102, 0o600);
      }
      await work('creat', join(scratch, `created-${i}`), 0, 0o600);
    }
    await work('count', '/no/many-', 3000, 100);
    const ours = (await open.stop()).map(
      (e) => `open ${e.process.pid} ${e['errno'] === null ? String(e['fd']) : String(e['errno'])} ${String(e['path'])}`,
    );
    await seen.sees(/\/no\/end$/, () => run(program, ['openat', '/no/end', '0', '0']));
    await seen.end();
    const named: Readonly<Record<string, string>> = { '-2': 'ENOENT', '-17': 'EEXIST', '-13': 'EACCES' };
    const theirs = seen.lines
      .filter((line) => pids.has(Number(line.split(' ')[1])))
      .map((line) =>
        line.replace(/^(open \d+) (-\d+) /, (_, start: string, code: string) => `${start} ${named[code] ?? code} `),
      );
    expect(ours.length).toBeGreaterThanOrEqual(3000 + 20 * 10);
    expect(inOrder(ours)).toEqual(inOrder(theirs));
  });

  it('has the same connections', async () => {
    // include/net/tcp_states.h: 1 ESTABLISHED, 2 SYN_SENT, 3 SYN_RECV, 7 CLOSE
    const seen = await watch(
      'tracepoint:sock:inet_sock_set_state /args->protocol == 6/ { printf("tcp %d %d %d %d\\n", args->oldstate, ' +
        'args->newstate, args->sport, args->dport); }',
    );
    const server = createServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .on('end', () => socket.end('bye')),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const refused = createServer();
    refused.listen(0, '127.0.0.1');
    await once(refused, 'listening');
    const closed = (refused.address() as AddressInfo).port;
    refused.close();
    await once(refused, 'close');
    const talk = async () => {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      const from = socket.localPort ?? 0;
      socket.resume().end('hello');
      await once(socket, 'close');
      return from;
    };
    await seen.sees(new RegExp(`^tcp 2 1 \\d+ ${port}$`), talk);

    const tcp = await startTracker('tcp', { pids: [process.pid] });
    const ports = new Set<number>();
    for (let round = 0; round < 15; round++)
      for (const from of await Promise.all(Array.from({ length: 10 }, talk))) ports.add(from);
    for (let i = 0; i < 20; i++)
      await expect(once(connect(closed, '127.0.0.1'), 'connect')).rejects.toThrow('ECONNREFUSED');
    const about = (local: number, remote: number) =>
      (local === port && ports.has(remote)) || (remote === port && ports.has(local)) || remote === closed;
    // Both ends of each connection must have come to their end.
    await until(
      'all are closed',
      () =>
        tcp.events.filter(
          (e) => e['tcpOperation'] === 'CLOSE' && about(Number(e['localPort']), Number(e['remotePort'])),
        ).length ===
        2 * ports.size,
    );
    const ours = (await tcp.stop()).filter((e) => about(Number(e['localPort']), Number(e['remotePort'])));
    await until(
      'bpftrace has told all',
      () =>
        seen.lines.filter((line) => new RegExp(`^tcp \\d+ 7 (${port} \\d+|\\d+ ${port})$`).test(line)).length >=
        2 * ports.size,
    );
    await seen.end();
    server.close();

    const told = seen.lines.flatMap((line) => {
      const [, before = 0, after = 0, sport = 0, dport = 0] = line.split(' ').map(Number);
      if (!about(sport, dport)) return [];
      const at = `${sport} ${dport}`;
      if (before === 2 && after === 1) return [`CONNECT ${at}`];
      if (before === 3 && after === 1) return [`ACCEPT ${at}`];
      if (before === 2 && after === 7) return [`CONNECT_FAILED ${dport}`];
      return after === 7 && before !== 3 ? [`CLOSE ${at}`] : [];
    });
    const mine = ours.map((e) =>
      e['tcpOperation'] === 'CONNECT_FAILED'
        ? `CONNECT_FAILED ${String(e['remotePort'])}`
        : `${String(e['tcpOperation'])} ${String(e['localPort'])} ${String(e['remotePort'])}`,
    );
    expect(ports.size).toBeGreaterThan(100);
    expect(inOrder(mine)).toEqual(inOrder(told));
    expect(mine.filter((line) => line.startsWith('CONNECT_FAILED'))).toHaveLength(20);
  });
});
