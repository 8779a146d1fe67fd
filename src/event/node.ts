/** A server among others. */
export interface NodeFacts {
  /** The same over restarts, where there is a data directory. */
  readonly id: string;
  readonly name: string;
}
