import type { Container } from '../../inventory/container.js';
import { OTHER } from '../../event/metric.js';
import type { SessionSpec } from '../../session/spec.js';

/** Of processes that are in no container. */
export const HOST = 'host';
/** Of all sessions that were started without a name, traces for the most part. */
export const UNNAMED = 'unnamed';

// Who has a value with a meaning of its own as its name is called by its id.
const reservedContainers: ReadonlySet<string> = new Set([OTHER, HOST]);
const reservedSessions: ReadonlySet<string> = new Set([OTHER, UNNAMED]);
const SHORT_ID = 12;

/** What names a session in metrics. */
export interface LabelledSession {
  readonly id: string;
  readonly spec: Pick<SessionSpec, 'name'>;
}

export function containerLabel(container: Container | null): string {
  if (!container) return HOST;
  const { name, id } = container;
  return name === null || reservedContainers.has(name) ? id.slice(0, SHORT_ID) : name;
}

/** Null for a session that was removed. */
export function sessionLabel(session: LabelledSession | null): string {
  const name = session?.spec.name ?? null;
  if (!session || name === null) return UNNAMED;
  return reservedSessions.has(name) ? session.id : name;
}
