import { containerMatch } from './container.js';
import { severities, type Alert, type Severity } from './alert.js';

/** What a silence is for: alerts that have all of these; null where anything will do. */
export interface SilenceMatch {
  readonly rule: string | null;
  readonly source: string | null;
  /** Globs over the container's name (its id, if it has none) and its image. */
  readonly container: string | null;
  readonly image: string | null;
  /** This and less severe ones. */
  readonly severityAtMost: Severity | null;
  readonly key: string | null;
}

/** New alerts that match are kept, and not sent out. Times are RFC 3339 with nanoseconds. */
export interface Silence extends SilenceMatch {
  /** "silence:" and digits. */
  readonly id: string;
  readonly reason: string;
  readonly by: string;
  readonly createdAt: string;
  readonly until: string;
  /** When somebody ended it before its time, and who; null if nobody did. */
  readonly endedAt: string | null;
  readonly endedBy: string | null;
}

export type Subject = Pick<Alert, 'severity' | 'source' | 'rule' | 'key' | 'container'>;

/** A silence that may still be in force, with its globs compiled. */
export interface Silencer {
  readonly silence: Silence;
  readonly untilMs: number;
  readonly matches: (alert: Subject) => boolean;
}

/** Whether it is in force. */
export function isActive({ until, endedAt }: Silence, now: number): boolean {
  return endedAt === null && Date.parse(until) > now;
}

/** Throws BAD_SELECTOR for a glob that is none. */
export function silencerOf(silence: Silence): Silencer {
  const { rule, source, key, severityAtMost, container: name, image } = silence;
  const most = severityAtMost === null ? severities.length : severities.indexOf(severityAtMost);
  const inContainer = name === null && image === null ? null : containerMatch({ name, image });
  return {
    silence,
    untilMs: Date.parse(silence.until),
    matches: (alert) =>
      (rule === null || alert.rule === rule) &&
      (source === null || alert.source === source) &&
      (key === null || alert.key === key) &&
      severities.indexOf(alert.severity) <= most &&
      (inContainer === null || (alert.container !== null && inContainer(alert.container))),
  };
}
