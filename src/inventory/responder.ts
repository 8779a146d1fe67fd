import { readlink } from 'node:fs/promises';
import { constants } from 'node:os';
import { bootNamespaceNs } from '../kernel/clock.js';
import { Pidfd } from '../kernel/pidfd.js';
import type { Container } from './container.js';
import { INITIAL_PID_NS, startTicks, TICK_NS } from './process.js';
import type { ContainerRegistry } from './registry.js';
import type { ContainerAction } from './source.js';

/** A process as events tell it: by pid and start, since a pid is used again. */
export interface ProcessKey {
  readonly pid: number;
  /** ns since boot. */
  readonly startNs: number;
}

/** What is needed of a `ContainerRegistry`. */
interface ActedOn extends Pick<ContainerRegistry, 'act'> {
  resolvePid(pid: number): Promise<Pick<Container, 'id'> | null | undefined>;
}

/** Acts on processes and containers. What it must not do, and what fails, rejects with an Error that says why. */
export class Responder {
  readonly #registry: ActedOn;

  constructor(registry: ActedOn) {
    this.#registry = registry;
  }

  /** Sends a signal to this process and no other: neither to one that has its pid now, nor to pid 1 or the server. */
  async signal({ pid, startNs }: ProcessKey, signal: keyof typeof constants.signals): Promise<void> {
    if (pid <= 1) throw new Error(`process ${pid} is never sent a signal`);
    if (pid === process.pid) throw new Error('this server never sends itself a signal');
    if ((await readlink('/proc/self/ns/pid')) !== INITIAL_PID_NS)
      throw new Error('the server is in a pid namespace of its own, where processes have other pids');
    const opened = Pidfd.open(pid);
    try {
      // Read behind the open: while the opened process lives, the pid is its own.
      const ticks = startTicks(pid);
      if (opened === null || ticks === null) throw new Error('the process has ended');
      const ageNs = startNs - (Number(ticks) * TICK_NS - Number(bootNamespaceNs));
      if (Math.abs(ageNs) > TICK_NS) throw new Error('the process has ended, and its pid is that of another one');
      if (!opened.send(constants.signals[signal])) throw new Error('the process has ended');
    } finally {
      opened?.close();
    }
  }

  /** Pauses or stops a container by its engine; never the one in which the server runs. */
  async container(id: string, action: ContainerAction): Promise<void> {
    const own = await this.#registry.resolvePid(process.pid);
    if (own?.id === id) throw new Error('the server runs in this container');
    await this.#registry.act(id, action);
  }
}
