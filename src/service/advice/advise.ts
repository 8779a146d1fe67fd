import type { Caller } from '../../access/caller.js';
import { diffCurrent } from '../../analysis/advice/diff.js';
import { adviceDemand, alikeFields, Observer } from '../../analysis/advice/observer.js';
import { EunomiaError, invalid, messageOf } from '../../base/errors.js';
import { buffersOf, pack, unpack, type Packed } from '../../base/packed.js';
import { inTurns, turns } from '../../base/turn.js';
import type { AdviceDifference, AdviceFile, Observation, SeccompDefault } from '../../event/advice.js';
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
import { liveFacts } from './live-facts.js';
import type { AdviceView, GivenAdvice } from './protocol.js';
import { checkChoice, chosenContainers } from './subject.js';
import { AdviceThread } from './thread.js';
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

/** What advice is made of. */
interface Subject {
  /** An `Observation`. */
  readonly observation: Packed;
  /** The id of the first container. */
  readonly first: string | null;
  readonly action: SeccompDefaultAction;
  /** JSON of rights in place of those recommended. */
  readonly tried?: string | null;
}

/** The least that containers need, by what sessions saw of them. */
export class Advices {
  readonly #parts: Parts;
  readonly #sessions: Sessions;
  readonly #histories: Histories;
  readonly #containers: Containers;
  readonly #verifications: Verifications;
  readonly #alike: AlikeFields;
  readonly #thread = new AdviceThread();

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
    const packed = await inTurns(pack(observation), caller.signal);
    return this.#made(caller, { observation: packed, first: observation.containers[0]?.id ?? null, action });
  }

  /** Of several observations as one: of runs and replicas that are to have the same rights. Rejects with BAD_USER_INPUT. */
  async merge(caller: Caller, given: readonly unknown[], action: SeccompDefaultAction): Promise<AdviceView> {
    listInRange('advice', given, MAX_MERGED, 'the JSON of two pieces of advice');
    return this.#of(
      caller,
      given.map((each, i) => givenAs(`advice[${i}]`, each)),
      action,
    );
  }

  /** With other rights, which were tried. Rejects with BAD_USER_INPUT. */
  withRights(caller: Caller, given: unknown, rights: unknown): Promise<AdviceView> {
    return this.#of(caller, [givenAs('advice', given)], 'ERRNO', textOf(rights));
  }

  /** What only one of the two has, by what was seen. Rejects with BAD_USER_INPUT. */
  diff({ signal, connection: of }: Caller, before: unknown, after: unknown): Promise<readonly AdviceDifference[]> {
    return this.#thread.ask(
      'diff',
      { before: givenAs('before', before), after: givenAs('after', after) },
      { signal, of },
    );
  }

  /** What would change for the container. Null where no engine tells what it has. */
  change({ current, rights }: AdviceView): AdviceDifference[] | null {
    return current && diffCurrent(current, rights);
  }

  async files({ signal, connection: of }: Caller, advice: AdviceView): Promise<readonly AdviceFile[]> {
    const packed = await inTurns(pack(advice), signal);
    return this.#thread.ask('files', packed, { signal, of, transfer: buffersOf(packed) });
  }

  /** Idempotent. */
  end(): Promise<void> {
    return this.#thread.end();
  }

  async #of(
    caller: Caller,
    given: readonly GivenAdvice[],
    action: SeccompDefaultAction,
    tried: string | null = null,
  ): Promise<AdviceView> {
    const { observation, container } = await this.#thread.ask('read', given, {
      signal: caller.signal,
      of: caller.connection,
    });
    return this.#made(caller, { observation, first: container, action, tried });
  }

  async #made(caller: Caller, { observation, first, action, tried = null }: Subject): Promise<AdviceView> {
    const { registry, log } = this.#parts;
    const { signal, connection: of } = caller;
    const container = first === null ? null : (registry.list().find(({ id }) => id === first) ?? null);
    const current =
      first === null
        ? null
        : await registry.rights(first).catch((error: unknown) => {
            log.warn({ container: first, error: messageOf(error) }, 'the engine does not tell what a container has');
            return null;
          });
    const now = container ? await liveFacts(container, await this.#containers.resources(caller, container)) : null;
    const runtime = container && (await this.#verifications.knownRuntimeCalls(caller, container));
    const ask = { observation, now, current, runtime, action: actions[action], tried };
    const made = await this.#thread.ask('recommend', ask, { signal, of, transfer: buffersOf(observation) });
    return inTurns(unpack<AdviceView>(made), signal);
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

/** A client's values are bounded (`parseJson`): their text is made in one piece. What JSON has no number for is not null, but refused. */
function textOf(given: unknown): string {
  const refused = (_name: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
  return JSON.stringify(given, refused) ?? 'null';
}

function givenAs(path: string, given: unknown): GivenAdvice {
  return { path, json: textOf(given) };
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
