import { isDeepStrictEqual } from 'node:util';
import type { Caller } from '../../access/caller.js';
import { diffCurrent, diffRights } from '../../analysis/advice/diff.js';
import { withCallsOf } from '../../analysis/advice/line.js';
import { raises } from '../../analysis/advice/needs.js';
import { merge } from '../../analysis/advice/observation.js';
import { adviceDemand, alikeFields, Observer } from '../../analysis/advice/observer.js';
import { againstDefault, recommend } from '../../analysis/advice/recommend.js';
import { renderAdvice } from '../../analysis/advice/render/index.js';
import { EunomiaError, invalid, messageOf } from '../../base/errors.js';
import { listed } from '../../base/listed.js';
import { turns } from '../../base/turn.js';
import type {
  Advice,
  AdviceDifference,
  AdviceFile,
  CurrentRights,
  Observation,
  SeccompDefault,
} from '../../event/advice.js';
import type { Alike, TraceFacts } from '../../event/alike.js';
import { nowText } from '../../event/clock.js';
import type { Demand } from '../../event/event.js';
import { Missing, touches } from '../../event/missing.js';
import type { AdviseInput, SeccompDefaultAction } from '../../generated/schema.js';
import { nanosOf } from '../../record/nanos.js';
import type { AlikeFields, StoredContainer } from '../../storage/store.js';
import { listInRange } from '../check.js';
import type { Containers } from '../containers.js';
import { exclusionsOf } from '../exclusion.js';
import type { Histories } from '../history.js';
import type { Parts } from '../parts.js';
import type { Origin } from '../session/origin.js';
import { storedOrigin } from '../session/origin.js';
import type { Sessions } from '../sessions.js';
import { readObservation } from './given.js';
import { liveFacts } from './live-facts.js';
import { rightsOf } from './rights.js';
import { checkChoice, chosenContainers } from './subject.js';
import type { Verifications } from './verify.js';

/** Events that are read of a store for one piece of advice. */
const MAX_EVENTS = 5_000_000;
const MAX_MERGED = 100;
/** Events between two looks at the clock. */
const PIECE = 128;

const actions: Readonly<Record<SeccompDefaultAction, SeccompDefault>> = {
  ERRNO: 'SCMP_ACT_ERRNO',
  LOG: 'SCMP_ACT_LOG',
  KILL: 'SCMP_ACT_KILL_PROCESS',
};

/** Advice, and what the container has now; null where no engine tells. */
export interface AdviceView extends Advice {
  readonly current: CurrentRights | null;
}

/** The least that containers need, by what sessions saw of them. */
export class Advices {
  readonly #parts: Parts;
  readonly #sessions: Sessions;
  readonly #histories: Histories;
  readonly #containers: Containers;
  readonly #verifications: Verifications;
  readonly #alike: AlikeFields;

  /** The fields of events that advice reads. */
  readonly demand: Demand;

  constructor(
    parts: Parts,
    {
      sessions,
      histories,
      containers,
      verifications,
    }: {
      readonly sessions: Sessions;
      readonly histories: Histories;
      readonly containers: Containers;
      readonly verifications: Verifications;
    },
  ) {
    this.#verifications = verifications;
    this.#parts = parts;
    this.#sessions = sessions;
    this.#histories = histories;
    this.#containers = containers;
    this.demand = adviceDemand(parts.catalog.trackers);
    this.#alike = alikeFields(parts.catalog.trackers);
  }

  /**
   * Of one session, or of a range of history. Rejects with BAD_USER_INPUT, UNKNOWN_SESSION, UNKNOWN_CONTAINER, AMBIGUOUS_CONTAINER,
   * NO_STORE, CANCELLED, or what the store says.
   */
  async advise(caller: Caller, input: AdviseInput): Promise<AdviceView> {
    checkChoice(input);
    const action = input.action ?? 'ERRNO';
    const origins = await this.#origins(caller, input);
    const known = await Promise.all(origins.map((origin) => origin.containers()));
    const chosen = chosenContainers(known.flat(), input, this.#parts.registry);
    const observation = await this.#observe(caller, origins, chosen, input);
    if (observation.events === 0)
      throw new EunomiaError(
        'UNKNOWN_CONTAINER',
        `no event was seen of ${chosen.map(({ id, name }) => name ?? id.slice(0, 12)).join(', ')} in this time, so that nothing is known ` +
          'of what it needs; let it run while a session watches it',
      );
    return this.#made(caller, observation, action);
  }

  /** Of several observations as one: of runs and replicas that are to have the same rights. Rejects with BAD_USER_INPUT. */
  merge(caller: Caller, given: readonly unknown[], action: SeccompDefaultAction): Promise<AdviceView> {
    listInRange('advice', given, MAX_MERGED, 'the JSON of two pieces of advice');
    const observations = given.map((each, i) => readObservation(`advice[${i}]`, each));
    const same = observations.findIndex((each, i) =>
      observations.slice(0, i).some((other) => isDeepStrictEqual(each, other)),
    );
    if (same >= 0) throw invalid(`advice[${same}]`, 'is given twice: its events would be counted twice');
    const [first, ...others] = observations;
    return this.#made(caller, others.reduce(merge, first as Observation), action);
  }

  /** With other rights, which were tried. Rejects with BAD_USER_INPUT. */
  async withRights(caller: Caller, given: unknown, rights: unknown): Promise<AdviceView> {
    const observation = readObservation('advice', given);
    const tried = rightsOf('rights', rights);
    const advice = await this.#made(caller, observation, 'ERRNO');
    const others = diffRights(advice.rights, tried).map(
      ({ aspect, what, change }) => `${aspect.toLowerCase()} ${what} (${change.toLowerCase()})`,
    );
    const difference = others.length > 0 ? [`Other than what was seen to be needed: ${listed(others)}.`] : [];
    return {
      ...advice,
      rights: tried,
      lines: withCallsOf(advice.lines, tried.seccomp),
      defaultProfile: againstDefault(tried.seccomp),
      problems: [...advice.problems, ...difference],
    };
  }

  /** What only one of the two has, by what was seen. Throws BAD_USER_INPUT. */
  diff(_caller: Caller, before: unknown, after: unknown): AdviceDifference[] {
    const rights = (where: string, given: unknown) =>
      recommend(readObservation(where, given), { current: null, runtimeCalls: [], action: 'SCMP_ACT_ERRNO' }).rights;
    return diffRights(rights('before', before), rights('after', after));
  }

  /** What would change for the container. Null where no engine tells what it has. */
  change({ current, rights }: AdviceView): AdviceDifference[] | null {
    return current && diffCurrent(current, rights);
  }

  files(advice: AdviceView): AdviceFile[] {
    return renderAdvice(advice);
  }

  async #made(caller: Caller, observation: Observation, action: SeccompDefaultAction): Promise<AdviceView> {
    const { registry, log } = this.#parts;
    const [first] = observation.containers;
    const container = first && (registry.list().find(({ id }) => id === first.id) ?? null);
    const current = first
      ? await registry.rights(first.id).catch((error: unknown) => {
          log.warn({ container: first.id, error: messageOf(error) }, 'the engine does not tell what a container has');
          return null;
        })
      : null;
    const now = container ? await liveFacts(container, await this.#containers.resources(caller, container)) : null;
    const names = new Set(observation.calls.filter(({ runtime }) => !runtime).map(({ name }) => name));
    // Of a call that was seen, no event is missing.
    const whole = now
      ? merge(observation, { ...now, calls: now.calls.filter(({ name }) => !names.has(name)) })
      : observation;
    const runtime = container && (await this.#verifications.knownRuntimeCalls(caller, container));
    if (!turns.isOpen) await turns.next('REQUEST');
    const runtimeCalls = runtime ? runtime[raises(whole) ? 'plain' : 'noNewPrivileges'] : null;
    return { ...recommend(whole, { current, runtimeCalls, action: actions[action] }), current };
  }

  async #origins(caller: Caller, { session, from, to, store }: AdviseInput): Promise<readonly Origin[]> {
    if (session != null) {
      if (store != null) throw invalid('store', 'belongs to a range of time: leave out `session`');
      if (from != null && to != null && from >= to) throw invalid('to', `"${to}" is not after \`from\`, "${from}"`);
      return [await (await this.#sessions.need(caller, session)).events()];
    }
    if (from == null) throw invalid('session', 'is missing; give a session, or `from` for what was stored since then');
    const trackers = [...this.demand.keys()];
    const { store: opened, records } = await this.#histories.open(caller, { from, to, store, trackers }).recorded();
    return records.map((record) =>
      storedOrigin({ ...record, trackers: record.trackers.filter((name) => trackers.includes(name)) }, opened),
    );
  }

  async #observe(
    { signal }: Caller,
    origins: readonly Origin[],
    chosen: readonly StoredContainer[],
    { from = null, to = null }: AdviseInput,
  ): Promise<Observation> {
    const ids = new Set(chosen.map(({ id }) => id));
    const observer = new Observer({
      containers: ids,
      from,
      to,
      trackers: this.#parts.catalog.trackers,
    });
    const missing = new Missing();
    let stored = 0;
    for (const origin of origins) {
      const excluded = chosen.flatMap((container) => exclusionsOf(origin, { container, demand: this.demand }));
      // One that was to watch others has watched these only where it saw them.
      let watched = !excluded.some(({ restriction }) => restriction === 'session.target');
      if (watched) observer.begin({ ...origin.source, excluded });
      const take = (event: TraceFacts, more?: Omit<Alike, 'event'>): void => {
        if (!watched && event.container && ids.has((event.container as StoredContainer).id)) {
          watched = true;
          observer.begin({ ...origin.source, excluded });
        }
        if (watched) observer.add(event, more);
      };
      const gaps = new Missing();
      const range = { from: from === null ? null : nanosOf(from), to: to === null ? null : nanosOf(to) };
      const narrowing = { ...range, containers: [...ids].map((id) => ({ id })) };
      const whole = await origin.alike(narrowing, this.#alike);
      checkAwaited(signal);
      for (const gap of whole?.gaps ?? []) if (touches(gap, from, to)) gaps.add(gap);
      await forEach(whole?.alike ?? [], ({ event, ...more }) => take(event, more));
      for await (const { events, gap } of whole ? [] : origin.parts(narrowing)) {
        checkAwaited(signal);
        if (gap && touches(gap, from, to)) gaps.add(gap);
        if (origin.stored && (stored += events.length) > MAX_EVENTS)
          throw invalid('from', `the advice would be of more than ${MAX_EVENTS} stored events; take a shorter time`);
        await forEach(events, (event) => take(event));
      }
      if (watched) missing.join(gaps);
    }
    return observer.build(missing, nowText());
  }
}

/** In turns with all other work. */
async function forEach<Item>(items: readonly Item[], handle: (item: Item) => void): Promise<void> {
  for (const [i, item] of items.entries()) {
    if (i % PIECE === 0 && !turns.isOpen) await turns.next('REQUEST');
    handle(item);
  }
}

function checkAwaited(signal: AbortSignal): void {
  if (signal.aborted) throw new EunomiaError('CANCELLED', 'the client has gone away, and nobody waits for the advice');
}
