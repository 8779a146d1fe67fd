import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';

type Nothing = null | undefined | false;

/**
 * Probes every 10 ms until there is something other than null, undefined or false, and returns it. What the probe throws is thrown.
 * The limit only ends a test that fails anyway, so it is generous; the error has the last value.
 */
export async function until<T>(
  what: string,
  probe: () => T | Nothing | Promise<T | Nothing>,
  limitMs?: number,
): Promise<T> {
  return (await untilHolds(what, probe, (found) => found != null && found !== false, limitMs)) as T;
}

/** As `until`, for a value that is to pass a predicate: the error tells the value that did not. */
export async function untilHolds<T>(
  what: string,
  look: () => T | Promise<T>,
  holds: (value: T) => boolean,
  limitMs = 120_000,
): Promise<T> {
  for (const deadline = performance.now() + limitMs; ; await sleep(10)) {
    const value = await look();
    if (holds(value)) return value;
    if (performance.now() > deadline)
      throw new Error(`waited ${limitMs} ms without success: ${what}; the last value: ${inspect(value, { depth: 4 })}`);
  }
}
