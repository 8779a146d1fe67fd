import type { SessionSpec, TargetSpec } from '../../src/session/spec.js';

/** A session of these trackers, with the schema's defaults for what is not given. */
export function specOf(
  trackers: SessionSpec['trackers'],
  spec: Partial<Omit<SessionSpec, 'trackers' | 'target'>> = {},
  target: Partial<TargetSpec> = {},
): SessionSpec {
  const anyTarget = Object.keys(target).length > 0;
  return {
    trackers,
    target: anyTarget
      ? {
          containers: [],
          waitForContainers: false,
          cgroups: [],
          pids: [],
          descendants: true,
          uids: [],
          comms: [],
          ...target,
        }
      : null,
    where: null,
    capture: 'DEFAULT',
    fields: [],
    forMs: null,
    name: null,
    labels: [],
    ttlMs: null,
    bufferBytes: 32 << 20,
    ringBytes: 16 << 20,
    limit: null,
    persist: null,
    asked: null,
    ...spec,
  };
}
