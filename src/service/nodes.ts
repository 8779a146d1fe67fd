import type { Caller } from '../access/caller.js';
import { placeOf, placeOfId, type EventPlace } from '../record/place.js';
import { cursorOf } from '../session/cursor.js';
import { EunomiaError } from '../base/errors.js';
import type { TraceEvent } from '../event/event.js';
import type { Alerts } from './alerts.js';
import type { Facts } from './facts.js';
import type { Histories } from './history.js';
import type { Plugins } from './plugins.js';
import type { Rules } from './rules/rules.js';
import type { Queries } from './saved-queries/queries.js';
import type { Sessions } from './sessions.js';

/** An object of the schema, and the name of its type. */
export interface FoundNode {
  readonly type: string;
  readonly object: object;
}

/** The place behind it. */
export function eventCursorOf({ session, seq }: EventPlace): string {
  return cursorOf(session, seq + 1);
}

interface Finders {
  readonly sessions: Sessions;
  readonly facts: Facts;
  readonly plugins: Plugins;
  readonly histories: Histories;
  readonly alerts: Alerts;
  readonly queries: Queries;
  readonly rules: Rules;
}

/** All that has an id, by it. Ids of sessions, alerts and containers are their own; those of others begin with their kind. */
export class Nodes {
  readonly #finders: Finders;

  constructor(finders: Finders) {
    this.#finders = finders;
  }

  async find(caller: Caller, id: string): Promise<FoundNode | null> {
    const { sessions, facts, plugins, histories, alerts } = this.#finders;
    const place = placeOfId(id);
    if (place) {
      const event = await this.#event(caller, place);
      return event && { type: Reflect.get(event, '__typename') as string, object: event };
    }
    if (id.startsWith('plugin:')) return named('Plugin', plugins.byId(caller, id));
    if (id.startsWith('rule:')) return named('Rule', this.#finders.rules.byId(caller, id));
    if (id.startsWith('query:')) return named('SavedQuery', this.#finders.queries.byId(caller, id));
    if (id.startsWith('silence:')) return named('Silence', alerts.silenceById(caller, id));
    if (id.startsWith('store:')) {
      const stores = await histories.stores(caller);
      return named('StoreStatus', stores.find((store) => store.id === id) ?? null);
    }
    return (
      named('Session', await sessions.find(caller, id)) ??
      named('Alert', alerts.byId(caller, id)) ??
      named('Container', await facts.containerById(caller, id))
    );
  }

  /** Null for an event that is nowhere any more, and for what is no id of an event. */
  async event(caller: Caller, id: string): Promise<TraceEvent | null> {
    const place = placeOfId(id);
    return place && this.#event(caller, place);
  }

  async #event(caller: Caller, place: EventPlace): Promise<TraceEvent | null> {
    const session = await this.#finders.sessions.find(caller, place.session);
    if (!session) return null;
    try {
      const after = cursorOf(place.session, place.seq);
      const { events } = await session.page({ first: 1, after, where: null });
      const [event] = events;
      return event && placeOf(event)?.seq === place.seq ? event : null;
    } catch (error) {
      // A place that the session has not reached, or one of a session that has rollups.
      if (error instanceof EunomiaError && (error.code === 'BAD_CURSOR' || error.code === 'BAD_USER_INPUT'))
        return null;
      throw error;
    }
  }
}

function named(type: string, object: object | null): FoundNode | null {
  return object && { type, object };
}
