import { invalid } from '../base/errors.js';
import type { TrackerOptions } from './define.js';

// The option `every` of trackers that aggregate in the kernel: how often what they have counted becomes events.

const DEFAULT_EVERY_MS = 1000;
const MIN_EVERY_MS = 50;
const MAX_EVERY_MS = 3_600_000;

export function everyMs({ every }: TrackerOptions): number {
  return typeof every === 'number' ? every : DEFAULT_EVERY_MS;
}

/** Throws BAD_USER_INPUT for one that is out of range; `path` is that of the options. */
export function checkEvery(options: TrackerOptions, path: string): void {
  const ms = everyMs(options);
  if (ms < MIN_EVERY_MS || ms > MAX_EVERY_MS) {
    throw invalid(`${path}.every`, `${ms} ms is out of range; give "${MIN_EVERY_MS}ms" to "1h"`, {
      minMs: MIN_EVERY_MS,
      maxMs: MAX_EVERY_MS,
      valueMs: ms,
    });
  }
}
