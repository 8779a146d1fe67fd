import type { CurrentRights } from '../event/advice.js';
import type { ContainerFacts } from './container.js';

/** A connection to something that knows containers: a container engine, later a CRI runtime or a Kubernetes API. */
export interface EngineStatus {
  readonly connected: boolean;
  /** Why it is not connected; null while it is, and before the first attempt has ended. */
  readonly error: string | null;
  /** Null while it is not connected: another version may come back. */
  readonly version: string | null;
  /** docker or podman; null until it has responded once. */
  readonly kind: string | null;
  /** The address that is used: unix:///var/run/docker.sock, tcp://host:2376. */
  readonly endpoint: string;
  /** Nobody named it: until it has answered once, there may be no such engine. Default: false. */
  readonly presumed?: boolean;
}

/** Whether there is nothing at an address that nobody named: nothing is missing then. */
export function isNoEngine({
  connected,
  error,
  presumed = false,
}: Pick<EngineStatus, 'connected' | 'error' | 'presumed'>): boolean {
  return !connected && presumed && error !== null && error.includes('ENOENT');
}

/** Who listens to a source. What it throws is logged, and goes no further. */
export interface SourceSink {
  facts(facts: ContainerFacts): void;
  /** Everything the source has. `touched`: ids that events spoke of while the list was on its way; the event knows better. */
  listed(all: readonly ContainerFacts[], touched: ReadonlySet<string>): void;
  removed(id: string, at: string): void;
  /** The source is connected and does not know this container. */
  absent(id: string): void;
  status(status: EngineStatus): void;
}

/**
 * Tells what containers there are and what they are called. It connects by itself, again and again, and never throws: a
 * source that is broken costs names only.
 */
export interface ContainerSource {
  /** Its health. */
  readonly status: EngineStatus;
  /** Whether names may yet come: it is connected, or the first attempt to connect is under way. */
  readonly hopeful: boolean;
  /** Begins to follow. `onFirst` is called once, after the first full list or the first failure. */
  start(onFirst: () => void): void;
  /** Ends every request and resolves when nothing is left of them. May be called twice. */
  close(): Promise<void>;
  /** Asks for a container that something else has seen. While disconnected it cuts the pause before the next attempt short. */
  request(id: string): void;
  /** Does this to a container. Rejects with why it could not. Absent where the source only knows containers. */
  act?(id: string, action: ContainerAction): Promise<void>;
  /** Whether it may know containers of a runtime, as `Container.runtime` names it. Only those does its silence leave without names. */
  covers(runtime: string): boolean;
  /** What a container may do now; null when it does not know it. Rejects when it does not respond. Absent where it cannot tell. */
  rights?(id: string): Promise<CurrentRights | null>;
}

/** What an engine can do to a container. */
export type ContainerAction = 'pause' | 'stop';

/** Makes a source that tells its sink what it finds, from `start` on. */
export type CreateSource = (sink: SourceSink) => ContainerSource;
