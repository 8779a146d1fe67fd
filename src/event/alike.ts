import type { ProcessView, TraceEvent } from './event.js';

/** Events that differ in nothing that a reader takes of them, as one: what a store can tell of millions without handing on each. */

/** What a reader takes of an event besides what all events have. */
export type TraceFacts = Pick<TraceEvent, '__typename' | 'tracker' | 'time' | 'container'> & {
  readonly process: Pick<ProcessView, 'uid' | 'gid' | 'comm' | 'mountNs'>;
};

/** Of so many names in one directory, a reader takes that there are many, and none of them. */
export const MANY_NAMES = 2000;
/** The name, in the path of such a directory, that stands for all of them: no file is called so. */
export const ANY_NAME = '\0';

/** A field of a tracker, everywhere or in some of its events: null counts for it in the others. */
export type AlikeField =
  | string
  | {
      /**
       * A path. Of events without `errno` that differ in its last name alone, `ANY_NAME` stands for `MANY_NAMES` or more, where it is
       * absolute or starts at one that is.
       */
      readonly field: string;
      readonly names: true;
      /** The field of the directory at which a relative one starts. */
      readonly start?: string;
    }
  | {
      readonly field: string;
      /** A field of text, and its values where `field` is taken. */
      readonly where: string;
      readonly is: readonly string[];
    }
  | {
      readonly field: string;
      /** A field that is read in its place where it is not null. */
      readonly unless: string;
    }
  | {
      /** A time, of which the earliest or latest counts; where it is null, the event's own. */
      readonly field: string;
      readonly of: 'earliest' | 'latest';
    };

export interface Alike {
  /** At the time of the first; with the fields that were asked for, and of what the kernel has counted, the totals of all. */
  readonly event: TraceFacts;
  /** When the last happened: RFC 3339 with nanoseconds. */
  readonly last: string;
  /** How many they are. */
  readonly events: number;
  /** How often what `event` tells happened: once where it has totals, else `events` times. */
  readonly times: number;
}
