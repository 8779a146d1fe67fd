import type { Command } from 'commander';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { checkFile, toFile, toOutput } from './file.js';
import { UsageError } from './usage.js';
import type { World } from './world.js';

interface Flags extends ServerFlags {
  readonly output?: string;
}

export function addBackup(program: Command, world: World): void {
  withServer(program.command('backup'), 'which server has the history?')
    .description('copy the embedded history of a running server into a DuckDB file, for other tools or as a backup')
    .option('-o, --output <file>', 'write to this file, which appears when it is complete; default: standard output')
    .action(async (flags: Flags) => {
      const { output } = flags;
      if (output === undefined && world.output.width !== null)
        throw new UsageError('--output: a DuckDB file is no text for a terminal; name a file, or use a pipe');
      if (output !== undefined) await checkFile(output);
      await withClient(world, flags, async (client) => {
        const pieces = client.download('/backup/eunomia.duckdb', {});
        if (output === undefined) return void (await toOutput(pieces, world.output, world.signal));
        const bytes = await toFile(pieces, output, world.signal);
        world.tell(`${output}: ${bytes} bytes`);
      });
    });
}
