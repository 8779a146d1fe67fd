/** What bench/query/ asks of its audience's process, one at a time. */
export type Ask =
  /** Subscribe to a live aggregate of a session. */
  | {
      readonly kind: 'aggregate';
      readonly url: string;
      readonly session: string;
      readonly groupBy: readonly string[];
      readonly measures: readonly object[];
    }
  | { readonly kind: 'aggregated' }
  /** So many subscribers of a session, each with a connection of its own; they count what comes and do not look into it. */
  | {
      readonly kind: 'fan';
      readonly url: string;
      readonly session: string;
      readonly subscribers: number;
      readonly equal: boolean;
    }
  | { readonly kind: 'fanned' }
  /** Subscribe to a session's events, and compare their times with the moment when they are here. */
  | { readonly kind: 'delay'; readonly url: string; readonly session: string; readonly maxDelay: string }
  | { readonly kind: 'delayed' }
  | { readonly kind: 'leave' };

export type Answer =
  | { readonly kind: 'done' }
  | {
      readonly kind: 'aggregated';
      readonly events: number;
      readonly missing: number;
      readonly rows: number;
      readonly at: number;
    }
  | { readonly kind: 'fanned'; readonly messages: number; readonly bytes: number }
  /** Milliseconds from the event to its text's arrival, ascending. */
  | { readonly kind: 'delayed'; readonly ms: readonly number[] }
  | { readonly kind: 'failed'; readonly message: string };
