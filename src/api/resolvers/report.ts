import { setImmediate as breathe } from 'node:timers/promises';
import { markdown, ReportBuilder } from '../../consumers/report/index.js';
import { StoredSession } from '../../consumers/store/session.js';
import { EunomiaError, invalid } from '../../errors.js';
import type { QueryCompareReportsArgs, SessionReportArgs } from '../../generated/schema.js';
import type { Slice } from '../../pipeline/history.js';
import { gapsOf } from '../../pipeline/scan.js';
import type { Session } from '../../pipeline/session.js';
import { compareReports, type BehaviourReport } from '../../report.js';
import { inRange } from '../check.js';
import type { Services } from '../context.js';
import { useSession } from './session.js';
import type { AnySession } from './stored.js';
import { guarded, typed, type ResolverMap } from './types.js';

const DEFAULT_TOP = 100;
const MAX_TOP = 10_000;
/** Events between two looks at the clock, and of the event loop at a time. */
const PART = 1024;
const TURN_MS = 10;

/** Reports of behaviour, and what differs between two. */
export const reportResolvers: ResolverMap = {
  Session: {
    report: typed<AnySession, SessionReportArgs>((session, args, { services }) => {
      if (session instanceof StoredSession) throw new EunomiaError('NOT_IN_MEMORY', `the session ${session.id} is in its store only, and reports are made of what is in memory; ask its \`aggregate\`, or \`history\``);
      return guarded(report(session, args, services));
    }),
  },
  Query: {
    compareReports: typed<unknown, QueryCompareReportsArgs>((_root, { before, after }, context) => {
      const made = [before, after].map(({ session, ...args }) => report(useSession(session, context), { ...args, top: MAX_TOP }, context.services));
      return guarded(Promise.all(made).then(([old, now]) => old && now && compareReports(old, now)));
    }),
  },
  BehaviourReport: {
    markdown: typed((made: BehaviourReport) => markdown(made)),
  },
};

type Facts = NonNullable<BehaviourReport['container']>;

async function report(session: Session, { container: ref, host, from, to, top }: Partial<SessionReportArgs>, services: Services): Promise<BehaviourReport> {
  if (ref != null && host) throw invalid('host', 'cannot be joined with `container`: a container is not the host');
  if (from != null && to != null && from >= to) throw invalid('to', `"${to}" is not after \`from\`, "${from}"`);
  const most = inRange('top', top ?? DEFAULT_TOP, 1, MAX_TOP, 'entries');
  await session.refresh();
  const { evicted } = await session.stats();
  const slices = session.held();
  const builder = new ReportBuilder({
    session: session.id,
    container: ref == null ? null : await containerOf(ref, slices, services),
    host: host ?? false,
    from: from ?? null,
    to: to ?? null,
    trackers: session.spec.trackers.map(({ name }) => name),
    options: Object.fromEntries(session.spec.trackers.map(({ name, options }) => [name, options])),
    known: services.catalog.trackers.map(({ name }) => name),
  });
  await each(slices, (batch, i) => builder.add(batch.event(i)));
  const lost = gapsOf(slices).reduce((sum, gap) => sum + ((from != null && gap.to < from) || (to != null && gap.from >= to) ? 0 : gap.lost), 0);
  // What is no longer held came before all that is.
  const first = slices.find((slice) => slice.to > slice.from);
  const dropped = from != null && first && from >= first.batch.event(first.from).time ? 0 : evicted;
  return builder.build(most, { lost, dropped });
}

/** The container that a name or the beginning of an id stands for, among those of the events and those there are. */
async function containerOf(ref: string, slices: readonly Slice[], { registry }: Services): Promise<Facts> {
  if (ref === '') throw invalid('container', 'is empty; give a name, an id, or the beginning of an id; leave it out for all events of the session');
  const seen = new Set<object>(registry.list());
  await each(slices, (batch, i) => {
    const { container } = batch.event(i);
    if (container) seen.add(container);
  });
  const all = new Map([...(seen as Set<Facts>)].map((facts) => [facts.id, facts]));
  const found = [...all.values()].filter(({ id, name }) => name === ref || id.startsWith(ref));
  const exact = found.filter(({ id, name }) => name === ref || id === ref);
  const [container, another] = exact.length === 1 ? exact : found;
  if (!container) {
    const names = [...all.values()].map(({ id, name }) => name ?? id.slice(0, 12)).slice(0, 10);
    throw new EunomiaError('UNKNOWN_CONTAINER', `container: no event of the session is of a container "${ref.slice(0, 100)}"; there are ${names.join(', ') || 'none'}`, { details: { argument: 'container' } });
  }
  if (another) throw new EunomiaError('AMBIGUOUS_CONTAINER', `container: "${ref}" stands for ${found.map(({ id, name }) => `${name ?? 'a nameless one'} (${id.slice(0, 12)})`).slice(0, 5).join(' and ')}; give more of the id`, { details: { argument: 'container' } });
  const { id, name, image } = container;
  return { id, name, image };
}

async function each(slices: readonly Slice[], look: (batch: Slice['batch'], index: number) => void): Promise<void> {
  let since = performance.now();
  let count = 0;
  for (const { batch, from, to } of slices) {
    for (let i = from; i < to; i++) {
      look(batch, i);
      if (++count % PART !== 0 || performance.now() - since < TURN_MS) continue;
      await breathe();
      since = performance.now();
    }
  }
}
