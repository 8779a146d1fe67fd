import { ReportBuilder, type Losses, type ReportSource, type ReportSubject } from '../consumers/report/index.js';
import type { StoredContainer, StoredRecord } from '../consumers/store/store.js';
import { EunomiaError, invalid } from '../errors.js';
import { heldParts, type Part } from '../pipeline/parts.js';
import { nanosOf, textOfNanos } from '../pipeline/nanos.js';
import type { BehaviourReport } from '../report.js';
import { inRange } from './check.js';
import type { RequestContext } from './context.js';
import type { History } from './resolvers/history.js';
import { originOf, partsOf, upToDate, type AnySession, type Narrowing, type Origin } from './resolvers/stored.js';

/** Reports are made event by event, of sessions in memory and of stored ones alike. */

const DEFAULT_TOP = 100;
export const MAX_TOP = 10_000;
/** Events that are read of a store for one report: some half a minute's work. */
const MAX_EVENTS = 2_000_000;
const MAX_SESSIONS = 1000;

interface Subject {
  readonly container?: string | null;
  readonly host?: boolean | null;
  readonly top?: number | null;
}

interface Span {
  readonly from?: string | null;
  readonly to?: string | null;
}

/** Rejects with BAD_USER_INPUT, UNKNOWN_CONTAINER, AMBIGUOUS_CONTAINER, or what its store says. */
export async function reportOfSession(
  session: AnySession,
  { from, to, ...subject }: Subject & Span,
  context: RequestContext,
): Promise<BehaviourReport> {
  const top = check(subject);
  if (from != null && to != null && from >= to) throw invalid('to', `"${to}" is not after \`from\`, "${from}"`);
  const origin = await originOf(session);
  const container = subject.container == null ? null : pick(await containersOf(origin, context), subject.container);
  const writer = new ReportWriter(
    { ...factsOf(subject, container, context), session: session.id, from: from ?? null, to: to ?? null, narrowed: [] },
    context,
  );
  await writer.read(origin, sourceOf(origin), {});
  return writer.build(top);
}

/** Over all sessions whose events a store has of this time. Rejects as `reportOfSession` does. */
export async function reportOfHistory(
  { store, query }: History,
  subject: Subject,
  context: RequestContext,
): Promise<BehaviourReport> {
  const top = check(subject);
  if (subject.container != null && query.containers !== null)
    throw invalid('container', 'cannot be joined with `containers` of the history; give one of them');
  const from = query.from === null ? null : textOfNanos(query.from);
  const to = textOfNanos(query.to ?? BigInt(Date.now()) * 1_000_000n);
  await upToDate(store, context);
  const named =
    query.sessions === null
      ? await store.sessions()
      : await Promise.all(query.sessions.map(async (id) => (await store.session(id)) ?? unknown(id)));
  const records = named.filter(
    (record) => record.trackers.some((tracker) => query.trackers.includes(tracker)) && overlaps(record, from, to),
  );
  if (records.length > MAX_SESSIONS)
    throw invalid(
      'from',
      `${records.length.toLocaleString('en-US')} sessions were recorded in this time; a report reads at most ${MAX_SESSIONS.toLocaleString('en-US')}: take a shorter one, or name \`sessions\``,
      { max: MAX_SESSIONS, actual: records.length },
    );
  const sums = records.find(({ mode }) => mode !== 'EVENTS');
  if (sums)
    throw invalid(
      'sessions',
      `the session "${sums.id}" is stored as rollups, which have no single events; name others, or persist with mode EVENTS`,
    );
  const narrowed = [...(query.filter ? ['history.where'] : []), ...(query.containers ? ['history.containers'] : [])];
  const ids = records.map(({ id }) => id);
  const container =
    subject.container == null
      ? null
      : pick(ids.length ? await store.containers({ ...query, sessions: ids }) : [], subject.container);
  const writer = new ReportWriter(
    { ...factsOf(subject, container, context), session: null, from, to, narrowed },
    context,
  );
  for (const record of records) {
    const trackers = record.trackers.filter((tracker) => query.trackers.includes(tracker));
    const origin: Origin = { kind: 'STORE', store, record: { ...record, trackers } };
    await writer.read(origin, sourceOf(origin), { filter: query.filter, containers: query.containers });
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

function unknown(id: string): never {
  throw new EunomiaError(
    'UNKNOWN_SESSION',
    `the store has no session "${id.slice(0, 64)}"; \`sessions\` lists those there are`,
    { details: { session: id } },
  );
}

function overlaps({ createdAt, startedAt, stoppedAt }: StoredRecord, from: string | null, to: string): boolean {
  return (startedAt ?? createdAt) < to && (stoppedAt === null || from === null || stoppedAt >= from);
}

function factsOf(
  { host }: Subject,
  container: StoredContainer | null,
  { services }: RequestContext,
): Pick<ReportSubject, 'container' | 'host' | 'known'> {
  return { container, host: host ?? false, known: services.catalog.trackers.map(({ name }) => name) };
}

function sourceOf(origin: Origin): ReportSource {
  if (origin.kind === 'STORE') {
    const { id, trackers, options, startedAt, stoppedAt } = origin.record;
    return { id, trackers, options, from: startedAt, to: stoppedAt };
  }
  const { id, spec, startedAt, stoppedAt } = origin.session;
  return {
    id,
    trackers: spec.trackers.map(({ name }) => name),
    options: Object.fromEntries(spec.trackers.map(({ name, options }) => [name, options])),
    from: startedAt,
    to: stoppedAt,
  };
}

/** Sums up sessions, one after the other, and what is missing of them. */
class ReportWriter {
  readonly #subject: ReportSubject;
  readonly #builder: ReportBuilder;
  readonly #signal: AbortSignal;
  #losses: Losses = { lost: 0, dropped: 0, uncounted: false };
  #stored = 0;

  constructor(subject: ReportSubject, { signal }: RequestContext) {
    this.#subject = subject;
    this.#builder = new ReportBuilder(subject);
    this.#signal = signal;
  }

  async read(origin: Origin, source: ReportSource, narrowing: Narrowing): Promise<void> {
    this.#builder.begin(source);
    for await (const { events, gap } of partsOf(origin, {
      ...this.#narrowing(),
      ...narrowing,
      ...this.#ofContainer(),
    })) {
      if (this.#signal.aborted)
        throw new EunomiaError('CANCELLED', 'the client has gone away, and nobody waits for the report');
      if (gap) this.#miss(gap);
      if (origin.kind === 'STORE' && (this.#stored += events.length) > MAX_EVENTS) throw tooMany();
      for (const event of events) this.#builder.add(event);
    }
  }

  build(top: number): BehaviourReport {
    return this.#builder.build(top, this.#losses);
  }

  #narrowing(): Narrowing {
    const { from, to } = this.#subject;
    return { from: from === null ? null : nanosOf(from), to: to === null ? null : nanosOf(to) };
  }

  #ofContainer(): Narrowing {
    const { container } = this.#subject;
    return container ? { containers: [{ id: container.id }] } : {};
  }

  #miss({ from, to, lost, dropped }: NonNullable<Part['gap']>): void {
    const { from: since, to: until } = this.#subject;
    // Events that are dropped came before the one at its end, which is there.
    const before = since !== null && (lost || !dropped ? to < since : to <= since);
    if (before || (until !== null && from >= until)) return;
    const { lost: all, dropped: away, uncounted } = this.#losses;
    this.#losses = { lost: all + lost, dropped: away + dropped, uncounted: uncounted || (lost === 0 && dropped === 0) };
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

/** Those of the events; of a session in memory also those there are, which did nothing then. */
async function containersOf(
  origin: Origin,
  { services: { registry } }: RequestContext,
): Promise<readonly StoredContainer[]> {
  if (origin.kind === 'STORE') {
    const { id, trackers } = origin.record;
    return origin.store.containers({ sessions: [id], trackers, from: null, to: null, containers: null, filter: null });
  }
  const seen = new Map<string, StoredContainer>(registry.list().map((container) => [container.id, container]));
  for await (const { events } of heldParts(origin.session, null)) {
    for (const { container } of events)
      if (container) seen.set((container as StoredContainer).id, container as StoredContainer);
  }
  return [...seen.values()];
}

/** The container that a name or the beginning of an id stands for. */
function pick(all: readonly StoredContainer[], ref: string): StoredContainer {
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
      `container: "${ref}" stands for ${found
        .map(({ id, name }) => `${name ?? 'a nameless one'} (${id.slice(0, 12)})`)
        .slice(0, 5)
        .join(' and ')}; give more of the id`,
      { details: { argument: 'container' } },
    );
  const { id, name, image } = container;
  return { id, name, image };
}
