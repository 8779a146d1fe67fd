import { Option, type Command } from 'commander';
import { checkFlags } from './effect.js';
import { createPrinter, type Format, type Printer } from './printer.js';
import type { TrackerInfo } from './field.js';
import type { Batch } from './stream.js';
import { collect, wholeNumber } from './usage.js';
import type { World } from './world.js';

/** How a command prints events. */
export interface EventFlags {
  readonly output: Format;
  readonly fields?: readonly string[];
  readonly gaps?: boolean;
  readonly limit?: number;
}

/** Adds these flags to a command that prints events. `limit`: what --limit does. */
export function withEvents(command: Command, limit = 'stop after this many events'): Command {
  checkFlags<EventFlags>(command, ({ output }, refuse) => {
    if (output !== 'json') refuse(['gaps'], 'is for --output json; other formats tell gaps on stderr');
  });
  return command
    .option('-n, --limit <events>', limit, wholeNumber('--limit', 1, Number.MAX_SAFE_INTEGER))
    .addOption(
      new Option('-o, --output <format>', 'table, json (one event per line) or csv')
        .choices(['table', 'json', 'csv'])
        .default('table'),
    )
    .option(
      '-f, --fields <paths>',
      'only these fields: process.comm,args; comm is process.comm where no event has a comm of its own',
      collect,
    )
    .option('--gaps', 'with json: print a line {"gap": …} where events are missing');
}

export function printerOf(
  trackers: readonly TrackerInfo[],
  { output, fields }: EventFlags,
  { output: terminal }: World,
): Printer {
  return createPrinter(trackers, { format: output, fields: fields ?? null, terminal });
}

/** Prints a batch, with its gap where the format has a line for one, else told by `tellGap`. False when nobody reads any more. */
export function printBatch(
  { events, gap }: Batch,
  printer: Printer,
  { gaps, output }: EventFlags,
  { world, tellGap }: { readonly world: World; readonly tellGap: (gap: NonNullable<Batch['gap']>) => void },
): Promise<boolean> | boolean {
  if (gap && !(gaps && output === 'json')) tellGap(gap);
  const text = printer.print(events, gaps ? gap : null);
  return text === '' || world.output.write(text);
}
