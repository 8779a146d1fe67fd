/** What stopped sessions may take together. */
export interface StoppedLimits {
  readonly sessions: number;
  /** Bytes of records that they retain. */
  readonly bytes: number;
}

/** A session as this sees it. */
export interface StoppedSession {
  readonly retainedBytes: number;
  /** Its store has not got all of it yet, and may not respond: until it has, nobody else has its events. */
  readonly isUnwritten: boolean;
  /** Evicts the oldest events until so many bytes are left. */
  shrink(bytes: number): void;
}

/**
 * The sessions that have stopped and are still in memory, in the order in which they did. Nobody has to remove one, and each retains what
 * it retained while it ran: so together they are bounded.
 */
export class StoppedSessions<Session extends StoppedSession> {
  readonly #limits: StoppedLimits;
  readonly #sessions = new Set<Session>();

  constructor(limits: StoppedLimits) {
    this.#limits = limits;
  }

  /**
   * Evicts events of those that stopped first, where all retain too much; of those that a store has yet to write, last. What the newest
   * retains is never evicted: whoever stopped it is about to read it. Returns those to be removed, since there are too many.
   */
  add(session: Session): readonly Session[] {
    this.#sessions.add(session);
    let excess = this.bytes - this.#limits.bytes;
    const all = [...this.#sessions];
    const order = [...all.filter((one) => !one.isUnwritten), ...all.filter((one) => one.isUnwritten)];
    for (const one of order) {
      if (excess <= 0) break;
      if (one === session) continue;
      const before = one.retainedBytes;
      one.shrink(Math.max(0, before - excess));
      excess -= before - one.retainedBytes;
    }
    return order.slice(0, Math.max(0, this.#sessions.size - this.#limits.sessions));
  }

  delete(session: Session): void {
    this.#sessions.delete(session);
  }

  /** That they retain together. */
  get bytes(): number {
    let bytes = 0;
    for (const { retainedBytes } of this.#sessions) bytes += retainedBytes;
    return bytes;
  }
}
