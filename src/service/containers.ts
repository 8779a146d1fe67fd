import type { Caller } from '../access/caller.js';
import type { Container } from '../inventory/container.js';
import { startTicks } from '../inventory/process.js';
import { readResources, type Resources } from '../graph/resources.js';
import { nowText } from '../event/clock.js';
import type { Page } from '../session/session.js';
import type { SessionState } from '../session/spec.js';
import type { Row } from '../snapshot/rows.js';
import type { Parts } from './parts.js';
import { selects } from './exclusion.js';
import type { TargetView } from './session/asked.js';
import type { PageRequest, SessionHandle } from './session/handle.js';
import type { Sessions } from './sessions.js';

export interface ContainerResources extends Resources {
  /** RFC 3339. */
  readonly takenAt: string;
}

/** A port that a process of a container listens on. */
export interface ListeningPort {
  readonly protocol: string;
  readonly address: string;
  readonly port: number;
  readonly socket: Row;
}

/** What leads on from a container: what it uses, and who watches it. */
export class Containers {
  readonly #parts: Pick<Parts, 'registry' | 'snapshots' | 'manager'>;
  readonly #sessions: Sessions;

  constructor(parts: Pick<Parts, 'registry' | 'snapshots' | 'manager'>, sessions: Sessions) {
    this.#parts = parts;
    this.#sessions = sessions;
  }

  /** By the files of its cgroup; null where it does not run, or its first process is not known. */
  async resources(_caller: Caller, { id, pid }: Container): Promise<ContainerResources | null> {
    // A server that replays has no kernel whose container this could be.
    if (pid === null || !this.#parts.snapshots) return null;
    const started = startTicks(pid);
    if (started === null || (await this.#parts.registry.resolvePid(pid))?.id !== id) return null;
    const takenAt = nowText();
    const resources = await readResources(pid, started, id);
    return resources && { takenAt, ...resources };
  }

  /** The sessions in memory that its events may be in: those whose target includes it, or names no containers, or did so earlier. */
  async sessions(caller: Caller, container: Container, state: SessionState | null): Promise<readonly SessionHandle[]> {
    const all = await this.#sessions.list(caller, state);
    return all.filter(
      ({ id, spec, changes }) =>
        this.#parts.manager.get(id) !== undefined &&
        [spec, ...changes.map(({ before }) => before)].some((one) => mayHold(one?.target ?? null, container)),
    );
  }

  /** A page of its events in a session; null where there is no such session. Rejects as `SessionHandle.page` does. */
  async events(
    caller: Caller,
    { id }: Container,
    session: string,
    { where, ...range }: PageRequest,
  ): Promise<Page | null> {
    const handle = await this.#sessions.find(caller, session);
    const own = { container: { id: { eq: id } } };
    return handle && handle.page({ ...range, where: where == null ? own : { and: [own, where] } });
  }
}

function mayHold(target: TargetView | null, container: Container): boolean {
  return !target?.containers || target.cgroups !== null || target.containers.some((one) => selects(one, container));
}

/** The ports of the sockets, of IPv4 and IPv6, by port. A TCP socket that listens, or a UDP socket that takes from all. */
export function listeningPorts(sockets: readonly Row[]): readonly ListeningPort[] {
  return sockets
    .flatMap((socket): readonly ListeningPort[] => {
      const value = (name: string): unknown => Reflect.get(socket, name);
      const [protocol, address, port] = [value('protocol'), value('localAddress'), value('localPort')];
      if (value('listening') !== true || typeof address !== 'string' || typeof port !== 'number') return [];
      return [{ protocol: String(protocol), address, port, socket }];
    })
    .sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}
