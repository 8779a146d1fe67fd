import type { Asked, AskedInput } from '../../src/session/asked.js';

/** What a session of these trackers was asked for, with the schema's defaults for what is not given. */
export function askedOf(
  trackers: readonly string[],
  input: Partial<AskedInput> = {},
  facts: Partial<Omit<Asked, 'input'>> = {},
): Asked {
  return {
    input: {
      trackers: trackers.map((name) => ({ [name]: {} })),
      capture: 'DEFAULT',
      fields: [],
      labels: [],
      bufferBytes: 32 << 20,
      ringBytes: 16 << 20,
      plugins: [],
      ...input,
    },
    where: null,
    limit: null,
    ...facts,
  };
}
