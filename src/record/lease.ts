/**
 * Memory that one chunk of records is read in, and then the next. Whoever reads records holds their lease; when nobody
 * does, the memory goes back to the kernel thread. It is no longer readable here then: what would read it all the same
 * fails, and never sees another's records.
 *
 * Who refers to records for as long as he likes (a page, an event that was made) says `keep`; their memory is left to
 * the garbage collector.
 */
export class Lease {
  readonly #giveBack: () => void;
  #holders = 0;
  #kept = false;

  constructor(giveBack: () => void) {
    this.#giveBack = giveBack;
  }

  hold(): void {
    this.#holders += 1;
  }

  /** Ends one `hold`. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders > 0 || this.#kept) return;
    this.#kept = true; // once
    this.#giveBack();
  }

  keep(): void {
    this.#kept = true;
  }
}
