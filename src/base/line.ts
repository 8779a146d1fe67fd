/**
 * A set in the order in which its members came, whose oldest member is found at once. A set's iterator that begins anew passes each place
 * from which a member was deleted, and these are as many as there are members: to take the oldest of 40,000 so took 30 µs.
 */
export class OldestFirst<Member> {
  readonly #members = new Set<Member>();
  #walk = this.#members.values();

  get size(): number {
    return this.#members.size;
  }

  /** At the end, unless it is in it. */
  add(member: Member): void {
    this.#members.add(member);
  }

  delete(member: Member): boolean {
    return this.#members.delete(member);
  }

  /** Removes the oldest one and returns it; undefined when there is none. */
  take(): Member | undefined {
    let next = this.#walk.next();
    if (next.done) {
      // It does not go on once it has ended, whatever was added since.
      this.#walk = this.#members.values();
      next = this.#walk.next();
    }
    if (next.done) return undefined;
    this.#members.delete(next.value);
    return next.value;
  }
}
