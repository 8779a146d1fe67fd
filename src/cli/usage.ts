import { splitList } from '../options/kind.js';
import { EunomiaError } from '../base/errors.js';
import { UsageError } from '../base/usage.js';

export { UsageError };

/** "a,b" and repeated flags alike: a commander argument parser. */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, ...splitList(value)];
}

/** Repeated flags whose values may hold commas. */
export function append(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** A whole number in a range, or a UsageError that names the flag. */
export function wholeNumber(flag: string, least: number, most: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= least && number <= most) return number;
    throw new UsageError(`${flag}: ${JSON.stringify(value)} is no whole number from ${least} to ${most}`);
  };
}

/** The server names the argument `where`; who typed it knows the flag. The place in the expression stays. */
export function inFlag(error: unknown): unknown {
  const [, message] =
    (error instanceof EunomiaError && /^(?:input\.)?where(?:\.expr)?: (.*)$/s.exec(error.message)) || [];
  return message === undefined ? error : new UsageError(`--where: ${message}`);
}
