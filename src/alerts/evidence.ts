/** A process above the one of the alert, as of that moment. */
export interface EvidenceProcess {
  readonly pid: number;
  readonly uid?: number | null;
  readonly comm: string | null;
  readonly executable?: string | null;
  readonly args?: readonly string[] | null;
  /** RFC 3339 with nanoseconds. */
  readonly startTime?: string | null;
}

/** What there was when an alert was raised, as whoever raises it knows. Plain data: it is copied at once. */
export interface NewEvidence {
  /** The event's fields. */
  readonly event?: object | null;
  /** From the parent upwards. */
  readonly ancestors?: readonly EvidenceProcess[];
  readonly container?: object | null;
  /** Other events around it, the oldest first. */
  readonly events?: readonly object[];
}

export interface Evidence {
  readonly event: object | null;
  readonly ancestors: readonly EvidenceProcess[];
  readonly container: object | null;
  readonly events: readonly object[];
  /** Something was left out, since all of it was more than 64 KiB. */
  readonly truncated: boolean;
}

/** Events after an alert, which are gathered once it is raised. */
export interface EventsAfter {
  /** JSON of a list. */
  readonly events: string;
  /** Whether more may come. */
  readonly isGathering: boolean;
  /** Why there may be fewer than there were; null where that is not so. */
  readonly problem: string | null;
}

/** All that clients see. */
export interface WholeEvidence extends Evidence {
  readonly eventsAfter: readonly object[];
  readonly gathering: boolean;
  readonly eventsAfterProblem: string | null;
}

/** What there is of an alert; null for none. */
export function evidenceOf({
  evidence,
  after,
}: {
  readonly evidence: string | null;
  readonly after: EventsAfter | null;
}): WholeEvidence | null {
  if (evidence === null) return null;
  const told = JSON.parse(evidence) as Evidence;
  return {
    ...told,
    ancestors: told.ancestors.map(({ pid, uid, comm, executable, args, startTime }) => ({
      pid,
      uid: uid ?? null,
      comm,
      executable: executable ?? null,
      args: args ?? null,
      startTime: startTime ?? null,
    })),
    eventsAfter: after === null ? [] : (JSON.parse(after.events) as object[]),
    gathering: after?.isGathering ?? false,
    eventsAfterProblem: after?.problem ?? null,
  };
}

/** Surrounding events that are left where all are too much. */
const NEAREST = 4;
/** Bytes of one alert's evidence. */
export const MAX_EVIDENCE = 64 << 10;

/**
 * The JSON of evidence, of 64 KiB at most: if it is more, the surrounding events are left out, the oldest first, then the ancestors'
 * arguments, the container, the event and the ancestors. Null for none, and for what is no JSON. Never throws.
 */
export function evidenceText(given: NewEvidence | null): string | null {
  if (given === null) return null;
  const { event = null, ancestors = [], container = null, events = [] } = given;
  let kept: Evidence = { event, ancestors, container, events, truncated: false };
  try {
    for (const cut of cuts) {
      const text = JSON.stringify(kept);
      if (Buffer.byteLength(text) <= MAX_EVIDENCE) return text;
      kept = { ...kept, ...cut(kept), truncated: true };
    }
    return JSON.stringify(kept);
  } catch {
    return null; // a BigInt, a circle, or a getter that throws
  }
}

const cuts: readonly ((kept: Evidence) => Partial<Evidence>)[] = [
  ({ events }) => ({ events: events.slice(-NEAREST) }),
  () => ({ events: [] }),
  ({ ancestors }) => ({ ancestors: ancestors.map((one) => ({ ...one, args: null })) }),
  () => ({ container: null }),
  () => ({ event: null }),
  () => ({ ancestors: [] }),
];
