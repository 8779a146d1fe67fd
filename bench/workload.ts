import { programs } from './build.js';
import { LineProcess } from './child.js';

/** What a process does (bench/workload.c), by its name there. */
export const operations = {
  asked: 'a DNS query over loopback, and its response',
  bound: 'a UDP socket: made, bound and closed',
  cached: 'a read of 4 KiB of a file in memory',
  connected: 'a TCP connection over loopback: connect, accept, both closes',
  empowered: 'capset of the capabilities that it has',
  exchanged: 'a byte and its echo on a TCP connection',
  executed: 'a child that runs /bin/true with two dozen arguments',
  fetched: 'a read of 4 KiB from a disk, with O_DIRECT',
  flooded: "a datagram that is dropped, since its socket's buffer is full",
  forbidden: 'acct, which a seccomp filter refuses that the process has from then on',
  greeted: 'a TCP connection over loopback with a ClientHello',
  misdialled: 'connect to a Unix domain socket that does not exist',
  opened: '/dev/null is opened and closed',
  permitted: 'getppid, which the filter of `forbidden` allows',
  probed: 'access to /dev/kmsg',
  refused: 'an open that fails at once, the cheapest call that makes an event',
  removed: 'unlink of a path that does not exist',
  signalled: 'SIGCONT to itself',
  sought: 'msgget of a key that nothing has',
  switched: 'a byte to another process on the same CPU, and back',
  trivial: 'getppid, next to nothing but the way into the kernel and back',
  tuned: 'a write of the value that vm/swappiness has',
  unmounted: 'umount of a path that does not exist',
} as const;

export type CallKind = keyof typeof operations;

export interface Work {
  readonly calls: number;
  readonly ns: number;
}

/** The process whose calls are traced (bench/workload.c). It counts exactly what it does. */
export class Workload {
  readonly #process: LineProcess;

  private constructor(process: LineProcess) {
    this.#process = process;
  }

  /**
   * `first`: before all others on its CPU, so that what else the machine does is not in a call's time. `path`: what it opens, in the place
   * of /dev/null.
   */
  static async start({
    cpu,
    first,
    path,
  }: { readonly cpu?: number; readonly first?: boolean; readonly path?: string } = {}): Promise<Workload> {
    const process = new LineProcess(programs.workload, [
      ...(cpu === undefined ? [] : ['--cpu', String(cpu)]),
      ...(first ? ['--priority', '50'] : []),
      ...(path === undefined ? [] : ['--path', path]),
    ]);
    await process.line();
    return new Workload(process);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** So many calls a second for a time. Where it cannot keep up it makes all of them, later. */
  async paced(kind: CallKind, rate: number, ms: number): Promise<Work> {
    const [calls = 0, ns = 0] = await this.#process.ask(`${kind} paced ${Math.round(rate)} ${ms}`);
    return { calls, ns };
  }

  /** At least so many calls, as fast as they go. */
  async free(kind: CallKind, atLeast: number): Promise<Work> {
    const [calls = 0, ns = 0] = await this.#process.ask(`${kind} free ${atLeast}`);
    return { calls, ns };
  }

  /** So many calls, in slices, as fast as they go. Answers what one typically took, also where the CPU is shared. */
  async nsPerCall(kind: CallKind, calls: number): Promise<number> {
    const [, , median = 0] = await this.#process.ask(`${kind} free ${calls}`);
    return median / 1000;
  }

  close(): Promise<void> {
    return this.#process.close();
  }
}
