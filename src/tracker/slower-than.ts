import { invalid } from '../base/errors.js';
import type { TrackerOptions } from './define.js';

// The option `slowerThan`: the shortest duration that is reported.

const MAX_MS = 3_600_000;

/** In nanoseconds; 0 where it was not given. */
export function slowerThanNs({ slowerThan }: TrackerOptions): bigint {
  return typeof slowerThan === 'number' ? BigInt(Math.round(slowerThan * 1e6)) : 0n;
}

/** Throws BAD_USER_INPUT for one that is out of range; `path` is that of the options. */
export function checkSlowerThan(options: TrackerOptions, path: string): void {
  const ns = slowerThanNs(options);
  if (ns <= BigInt(MAX_MS) * 1_000_000n && (ns > 0n || options['slowerThan'] == null)) return;
  throw invalid(`${path}.slowerThan`, `${ns} ns is out of range; give "1ns" to "1h", for example "10ms"`, {
    maxMs: MAX_MS,
  });
}
