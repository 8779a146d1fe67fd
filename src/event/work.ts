/** What is counted of a plugin's work. */
export const workNames = [
  'events',
  'failed',
  'dropped',
  'calls',
  'alerts',
  'suppressed',
  'errors',
  'failures',
  'restarts',
  'reloads',
  'busyMs',
] as const;

export type WorkCounts = Readonly<Record<(typeof workNames)[number], number>>;

/** What became of a plugin's events and calls, over all of its sessions; counts never fall. */
export interface PluginWork<State extends string = string> {
  readonly plugin: string;
  readonly counts: WorkCounts;
  /** Events that wait for it now. */
  readonly queued: number;
  readonly memoryBytes: number;
  /** Sessions that it is attached to, by its state there. */
  readonly states: Readonly<Record<State, number>>;
}
