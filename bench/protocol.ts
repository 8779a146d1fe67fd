/** What bench/served.ts asks of its client's process, one at a time. */
export type Ask =
  /** Subscribe to a session and count. */
  | { readonly kind: 'watch'; readonly url: string; readonly session: string; readonly pid: number }
  | { readonly kind: 'count' }
  /** Start a session over HTTP, subscribe to it over a new WebSocket, wait for an event. */
  | { readonly kind: 'first'; readonly url: string; readonly start: string; readonly variables: object };

export type Answer =
  | { readonly kind: 'done' }
  | {
      readonly kind: 'count';
      readonly events: number;
      /** Events that were not of the workload, or without a field that was selected. */
      readonly strange: number;
      /** When the last came: milliseconds of the wall clock. */
      readonly at: number;
      readonly cpuMs: number;
    }
  | { readonly kind: 'first'; readonly ms: number; readonly startMs: number; readonly session: string }
  | { readonly kind: 'failed'; readonly message: string };
