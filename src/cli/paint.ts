/** Colours of a terminal, by what they mean. */
const CODES = { faint: [2, 22], failure: [31, 39] } as const;

/**
 * Text for a terminal that holds colours. All else in it has been made visible (`visible`): it is written as it is, while other text
 * cannot act on a terminal.
 */
export class Painted {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

export function paint(text: string, meaning: keyof typeof CODES): string {
  const [on, off] = CODES[meaning];
  return text === '' ? '' : `\u001b[${on}m${text}\u001b[${off}m`;
}
