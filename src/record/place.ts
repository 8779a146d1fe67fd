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

/** Gives an event that is plain data its place. */
export function placeAt<Event extends object>(event: Event, place: EventPlace): Event {
  return Object.defineProperty(event, PLACE, { value: place, configurable: true });
}
