import { execFile, type ChildProcess } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { run, start, firstLine, type Ended } from './workload.js';

const exec = promisify(execFile);

/** A network namespace of the test's own, in which nobody else sends: what the kernel counts in it is what the test did. */
export interface Netns {
  /** Inode number, as in /proc/PID/ns/net. */
  readonly inode: string;
  /** In it. */
  iptables(...args: readonly string[]): Promise<void>;
  /** The packets that each rule of the chain matched, in their order. */
  matched(chain: string, table?: string): Promise<number[]>;
  run(file: string, ...args: readonly (string | number)[]): Promise<Ended>;
  start(file: string, ...args: readonly (string | number)[]): ChildProcess;
  /** What /proc/net/snmp and netstat count: "Tcp.RetransSegs". */
  counters(): Promise<ReadonlyMap<string, number>>;
}

/** Its loopback device is up. Gone with the test file's processes. */
export async function makeNetns(): Promise<Netns> {
  const holder = start('unshare', ['-n', 'sh', '-c', 'ip link set lo up && echo up && exec sleep infinity']);
  if ((await firstLine(holder)) !== 'up') throw new Error('unshare -n: no network namespace');
  const pid = String(holder.pid);
  const inside = (...args: readonly (string | number)[]) => ['-t', pid, '-n', '--', ...args.map(String)];
  const within = async (...args: readonly string[]) => (await exec('nsenter', inside(...args))).stdout;
  return {
    inode: String((await stat(`/proc/${pid}/ns/net`)).ino),
    iptables: async (...args) => void (await within('iptables', ...args)),
    matched: async (chain, table = 'filter') =>
      (await within('iptables', '-t', table, '-nvxL', chain))
        .trim()
        .split('\n')
        .slice(2)
        .map((line) => Number(line.trim().split(/\s+/)[0])),
    run: (file, ...args) => run('nsenter', inside(file, ...args)),
    start: (file, ...args) => start('nsenter', inside(file, ...args)),
    counters: async () => {
      const texts = await Promise.all(['snmp', 'netstat'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8')));
      return new Map(texts.flatMap(countersOf));
    },
  };
}

/** Lines in pairs: "Tcp: NAME …" and "Tcp: VALUE …". */
function countersOf(text: string): [string, number][] {
  const lines = text.trim().split('\n');
  return lines.flatMap((line, i) => {
    if (i % 2) return [];
    const [group = '', ...names] = line.split(' ');
    const [, ...values] = (lines[i + 1] ?? '').split(' ');
    return names.map((name, at): [string, number] => [`${group}${name}`.replace(':', '.'), Number(values[at])]);
  });
}
