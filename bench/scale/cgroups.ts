import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

/** The v2 hierarchy, alone or beside those of v1. */
function hierarchy(): string {
  return existsSync('/sys/fs/cgroup/cgroup.controllers') ? '/sys/fs/cgroup' : '/sys/fs/cgroup/unified';
}

interface Running {
  readonly id: string;
  readonly directory: string;
  readonly process: ChildProcess;
}

/**
 * What a container is to the kernel, without an engine: a cgroup at the place where dockerd makes it, with a process in it. A thousand real
 * containers would need a thousand shims, and more memory than what is measured.
 */
export class ContainerCgroups {
  readonly #parent = join(hierarchy(), 'docker');
  readonly #madeParent = !existsSync(this.#parent);
  readonly #running: Running[] = [];

  get ids(): readonly string[] {
    return this.#running.map(({ id }) => id);
  }

  /** Starts or ends so many that `count` are running. */
  async resize(count: number): Promise<void> {
    while (this.#running.length < count) {
      this.#start();
      await turn(); // starting a process blocks
    }
    await this.#end(this.#running.splice(count));
  }

  /** A process goes into the first one; it has to end before `close`. */
  adopt(pid: number): void {
    const [first] = this.#running;
    if (!first) throw new Error('there is no container');
    writeFileSync(join(first.directory, 'cgroup.procs'), String(pid));
  }

  /** CPU time of all that has run in the first one, in nanoseconds, as the kernel counts it to the microsecond. */
  get cpuNs(): number {
    const [first] = this.#running;
    if (!first) throw new Error('there is no container');
    const stat = readFileSync(join(first.directory, 'cpu.stat'), 'utf8');
    return Number(/^usage_usec (\d+)$/m.exec(stat)?.[1]) * 1000;
  }

  /** The oldest ends, and a new one starts. */
  async replace(): Promise<void> {
    this.#start();
    await this.#end(this.#running.splice(0, 1));
  }

  async close(): Promise<void> {
    await this.resize(0);
    if (this.#madeParent && existsSync(this.#parent) && !hasChildren(this.#parent)) rmdirSync(this.#parent);
  }

  #start(): void {
    const id = randomBytes(32).toString('hex');
    const directory = join(this.#parent, id);
    mkdirSync(directory, { recursive: true });
    const process = spawn('sleep', ['infinity'], { stdio: 'ignore' });
    if (process.pid === undefined) throw new Error('sleep did not start');
    writeFileSync(join(directory, 'cgroup.procs'), String(process.pid));
    this.#running.push({ id, directory, process });
  }

  async #end(ending: readonly Running[]): Promise<void> {
    for (const { process } of ending) process.kill('SIGKILL');
    for (const { directory } of ending) await remove(directory);
  }
}

function hasChildren(directory: string): boolean {
  return readdirSync(directory, { withFileTypes: true }).some((entry) => entry.isDirectory());
}

/** A cgroup is busy until its last process has been reaped. */
async function remove(directory: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return rmdirSync(directory);
    } catch (error) {
      if (tries === 1000) throw error;
      await sleep(5);
    }
  }
}
