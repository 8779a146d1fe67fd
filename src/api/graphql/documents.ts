const MOST = 512;
/** Characters of all documents that are kept. What is parsed takes some 150 times their memory, and what is compiled of it more. */
const MOST_CHARACTERS = 256 << 10;
/** Comments and strings can make a document long that has few tokens. */
const LONGEST = 16 << 10;

/** What was made of documents, by their text: those that were used last, up to a number of them and of their characters. */
export class Documents<Made> {
  readonly #made = new Map<string, Made>();
  #characters = 0;

  /** What `make` made of the text, now or before. Keeps nothing when it throws. */
  of(text: string, make: (text: string) => Made): Made {
    const known = this.#made.get(text);
    if (known !== undefined) this.#forget(text);
    const made = known ?? make(text);
    if (text.length > LONGEST) return made;
    // The order of a Map is that of insertion: the first one is the least recently used.
    this.#made.set(text, made);
    this.#characters += text.length;
    for (const oldest of this.#made.keys()) {
      if (this.#characters <= MOST_CHARACTERS && this.#made.size <= MOST) break;
      this.#forget(oldest);
    }
    return made;
  }

  #forget(text: string): void {
    this.#made.delete(text);
    this.#characters -= text.length;
  }
}
