/** Which event of which session this is. Not data of the event: no column, filter or export has it. */
export interface EventPlace {
  readonly session: string;
  /** How many of the session's events came before it. */
  readonly seq: number;
}

/** Where events carry their places; views compute them when somebody asks. */
export const PLACE: unique symbol = Symbol('place');

/** Null for an event that was made outside of any session. */
export function placeOf(event: object): EventPlace | null {
  return (Reflect.get(event, PLACE) as EventPlace | null | undefined) ?? null;
}

const ID = /^event:(.{1,64}):(\d{1,15})$/;

/** `TraceEvent.id`: the same in a subscription, a page, the history, a plugin, and of a session that is stored. */
export function eventIdOf({ session, seq }: EventPlace): string {
  return `event:${session}:${seq}`;
}

/** What `eventIdOf` was given; null for a text that is no id of an event. */
export function placeOfId(id: string): EventPlace | null {
  const [, session, seq] = ID.exec(id) ?? [];
  return session === undefined ? null : { session, seq: Number(seq) };
}

/** Null for an event of no session. */
export function idOfEvent(event: object): string | null {
  const place = placeOf(event);
  return place && eventIdOf(place);
}

/** Gives an event that is plain data its place. */
export function placeAt<Event extends object>(event: Event, place: EventPlace): Event {
  return Object.defineProperty(event, PLACE, { value: place, configurable: true });
}
