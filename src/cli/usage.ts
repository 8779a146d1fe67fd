/** The command line itself is wrong: exit code 2. The message says what would be right. */
export class UsageError extends Error {}

/** "a,b" and repeated flags alike: a commander argument parser. */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [
    ...previous,
    ...value
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean),
  ];
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
