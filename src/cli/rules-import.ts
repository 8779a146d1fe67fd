import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { Argument, type Command } from 'commander';
import { EunomiaError, messageOf } from '../base/errors.js';
import { checkFile, toFile } from './file.js';
import { UsageError } from './usage.js';
import type { World } from './world.js';

interface Flags {
  readonly output?: string;
  readonly approximate: boolean;
  readonly passwd?: string;
  readonly hosts?: string;
}

/** Names of users are those of this machine where no other file is given. */
const USERS = '/etc/passwd';
/** More is no file of rules. */
const MAX_BYTES = 4 << 20;

/** Adds `import` to the group `rules`. */
export function addRulesImport(rules: Command, world: World): void {
  rules
    .command('import')
    .description("translate another system's rules into a rule file; tells which could not be translated, and why")
    .addArgument(new Argument('<format>', 'whose rules they are').choices(['falco']))
    .argument(
      '<files...>',
      'rule files in the order in which Falco reads them: later ones change what is in earlier ones',
    )
    .option('-o, --output <file>', 'write to this file, which appears when it is complete; default: standard output')
    .option(
      '--approximate',
      'where a comparison has no counterpart, leave it out, so that the rule fires more often, instead of leaving out the rule',
      false,
    )
    .option(
      '--passwd <file>',
      `a file as /etc/passwd: the ids of users that rules name; default: ${USERS}, if it is there`,
    )
    .option('--hosts <file>', 'a file as /etc/hosts: the addresses of hosts that rules name (fd.sip.name)')
    .action((_format: string, files: readonly string[], flags: Flags) => run(files, flags, world));
}

async function run(
  files: readonly string[],
  { output, approximate, passwd, hosts }: Flags,
  world: World,
): Promise<void> {
  if (output !== undefined) await checkFile(output);
  const users = await (passwd === undefined ? read(USERS, '').catch(() => null) : read(passwd, '--passwd: '));
  const { text, report, count } = await world.importRules({
    files: await Promise.all(files.map(async (file) => ({ name: basename(file), text: await read(file, '') }))),
    users: users === null ? null : { name: passwd ?? USERS, text: users },
    hosts: hosts === undefined ? null : await read(hosts, '--hosts: '),
    approximate,
  });
  world.tell(report);
  if (count === 0) throw new EunomiaError('BAD_RULES', 'no rule could be translated; nothing is written');
  if (output === undefined) await world.output.write(text);
  else await toFile(piecesOf(text), output);
}

async function read(file: string, flag: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > MAX_BYTES) throw new UsageError(`${flag}${file}: has ${size} bytes; at most ${MAX_BYTES} are read`);
    return await readFile(file, 'utf8');
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`${flag}${file}: cannot be read: ${messageOf(error)}`);
  }
}

async function* piecesOf(text: string): AsyncIterable<string> {
  yield text;
}
