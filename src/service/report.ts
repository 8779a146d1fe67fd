import { ReportBuilder, reportDemand, type ReportSubject } from '../analysis/report/index.js';
import type { Caller } from '../access/caller.js';
import { EunomiaError, invalid } from '../base/errors.js';
import type { Demand } from '../event/event.js';
import { Missing, touches } from '../event/missing.js';
import type { BehaviourReport } from '../event/report.js';
import { nanosOf } from '../record/nanos.js';
import type { Part } from '../session/stream/parts.js';
import type { EventQuery, Store, StoredContainer } from '../storage/store.js';
import { inRange } from './check.js';
import type { Parts } from './parts.js';
import { recordsIn, spanOf } from './range.js';
import { exclusionsOf, narrowedBy } from './exclusion.js';
import type { ReportRequest, SessionHandle } from './session/handle.js';
import { storedOrigin, type Narrowing, type Origin } from './session/origin.js';
import { listed } from '../base/listed.js';

/** Reports are made event by event, of sessions in memory and of stored ones alike. */

const DEFAULT_TOP = 100;
export const MAX_TOP = 10_000;
/** Events that are read of a store for one report: some half a minute's work. */
const MAX_EVENTS = 2_000_000;

type Subject = Omit<ReportRequest, 'from' | 'to'>;

/** Rejects with BAD_USER_INPUT, UNKNOWN_CONTAINER, AMBIGUOUS_CONTAINER, or what its store says. */
export async function reportOfSession(
  session: SessionHandle,
  { from, to, ...subject }: ReportRequest,
  parts: Parts,
  caller: Caller,
): Promise<BehaviourReport> {
  const top = check(subject);
  if (from != null && to != null && from >= to) throw invalid('to', `"${to}" is not after \`from\`, "${from}"`);
  const origin = await session.events();
  const container = subject.container == null ? null : pick(await origin.containers(), subject.container);
  const writer = new ReportWriter(
    { ...factsOf(subject, container, parts), session: session.id, from: from ?? null, to: to ?? null, narrowed: [] },
    caller,
  );
  await writer.read(origin, {});
  return writer.build(top);
}

/** Over all sessions whose events a store has of this time. Rejects as `reportOfSession` does. */
export async function reportOfHistory(
  { store, query }: { readonly store: Store; readonly query: EventQuery },
  subject: Subject,
  parts: Parts,
  caller: Caller,
): Promise<BehaviourReport> {
  const top = check(subject);
  if (subject.container != null && query.containers !== null)
    throw invalid('container', 'cannot be joined with `containers` of the history; give one of them');
  const { from, to } = spanOf(query);
  const records = await recordsIn({ from, to }, { store, query }, parts, 'a report');
  const narrowed = narrowedBy(query);
  const ids = records.map(({ id }) => id);
  const container =
    subject.container == null
      ? null
      : pick(ids.length ? await store.containers({ ...query, sessions: ids }) : [], subject.container);
  const writer = new ReportWriter({ ...factsOf(subject, container, parts), session: null, from, to, narrowed }, caller);
  for (const record of records) {
    const trackers = record.trackers.filter((tracker) => query.trackers.includes(tracker));
    const origin = storedOrigin({ ...record, trackers }, store);
    await writer.read(origin, { filter: query.filter, containers: query.containers });
  }
  return writer.build(top);
}

function check({ container, host, top }: Subject): number {
  if (container === '')
    throw invalid('container', 'is empty; give a name, an id, or the beginning of an id; leave it out for all events');
  if (container != null && host)
    throw invalid('host', 'cannot be joined with `container`: a container is not the host');
  return inRange('top', top ?? DEFAULT_TOP, 1, MAX_TOP, 'entries');
}

function factsOf(
  { host }: Subject,
  container: StoredContainer | null,
  { catalog }: Parts,
): Pick<ReportSubject, 'container' | 'host' | 'trackers'> {
  return { container, host: host ?? false, trackers: catalog.trackers };
}

/** Sums up sessions, one after the other, and what is missing of them. */
class ReportWriter {
  readonly #subject: ReportSubject;
  readonly #builder: ReportBuilder;
  readonly #signal: AbortSignal;
  readonly #missing = new Missing();
  readonly #demand: Demand;
  #stored = 0;

  constructor(subject: ReportSubject, { signal }: Caller) {
    this.#subject = subject;
    this.#builder = new ReportBuilder(subject);
    this.#demand = reportDemand(subject.trackers);
    this.#signal = signal;
  }

  async read(origin: Origin, narrowing: Narrowing): Promise<void> {
    const excluded = exclusionsOf(origin, { ...this.#subject, demand: this.#demand });
    this.#builder.begin({ ...origin.source, excluded });
    for await (const { events, gap } of origin.parts({
      ...this.#narrowing(),
      ...narrowing,
      ...this.#ofContainer(),
    })) {
      if (this.#signal.aborted)
        throw new EunomiaError('CANCELLED', 'the client has gone away, and nobody waits for the report');
      if (gap) this.#miss(gap);
      if (origin.stored && (this.#stored += events.length) > MAX_EVENTS) throw tooMany();
      for (const event of events) this.#builder.add(event);
    }
  }

  build(top: number): BehaviourReport {
    return this.#builder.build(top, this.#missing);
  }

  #narrowing(): Narrowing {
    const { from, to } = this.#subject;
    return { from: from === null ? null : nanosOf(from), to: to === null ? null : nanosOf(to) };
  }

  #ofContainer(): Narrowing {
    const { container } = this.#subject;
    return container ? { containers: [{ id: container.id }] } : {};
  }

  #miss(gap: NonNullable<Part['gap']>): void {
    const { from, to } = this.#subject;
    if (touches(gap, from, to)) this.#missing.add(gap);
  }
}

function tooMany(): EunomiaError {
  const most = MAX_EVENTS.toLocaleString('en-US');
  return invalid(
    'from',
    `the report would be of more than ${most} stored events; take a shorter time, name a container, or ask for an \`aggregate\``,
    { max: MAX_EVENTS },
  );
}

/** The container that a name or the beginning of an id stands for. */
export function pick(all: readonly StoredContainer[], ref: string): StoredContainer {
  const found = all.filter(({ id, name }) => name === ref || id.startsWith(ref));
  const exact = found.filter(({ id, name }) => name === ref || id === ref);
  const [container, another] = exact.length === 1 ? exact : found;
  if (!container) {
    const names = all.map(({ id, name }) => name ?? id.slice(0, 12)).slice(0, 10);
    throw new EunomiaError(
      'UNKNOWN_CONTAINER',
      `container: no event that was recorded is of a container "${ref.slice(0, 100)}"; there are ${names.join(', ') || 'none'}`,
      { details: { argument: 'container' } },
    );
  }
  if (another)
    throw new EunomiaError(
      'AMBIGUOUS_CONTAINER',
      `container: "${ref}" stands for ${listed(
        found.slice(0, 5).map(({ id, name }) => `${name ?? 'a nameless one'} (${id.slice(0, 12)})`),
      )}; give more of the id`,
      { details: { argument: 'container' } },
    );
  const { id, name, image } = container;
  return { id, name, image };
}
