import type { Command } from 'commander';
import { UsageError } from './usage.js';

/**
 * Refuses flags that somebody typed and that do nothing in this mode. What stands in the environment may be meant for other commands, and
 * passes. `why` follows their names. Throws a UsageError.
 */
export function refuseIgnored(command: Command, names: readonly string[], why: string): void {
  const ignored = command.options.filter(
    (option) =>
      names.includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (ignored.length)
    throw new UsageError(`${ignored.map(({ long, short }) => long ?? short ?? '').join(', ')}: ${why}`);
}

/** Calls a check before the command's action, with what it was given. */
export function checkFlags<Flags>(
  command: Command,
  check: (flags: Flags, refuse: (names: readonly string[], why: string) => void) => void,
): void {
  command.hook('preAction', (_program, called) =>
    check(called.opts<Flags & Record<string, unknown>>(), (names, why) => refuseIgnored(called, names, why)),
  );
}
