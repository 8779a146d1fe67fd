import { Command, CommanderError } from 'commander';
import { EunomiaError, messageOf } from '../base/errors.js';
import { addAttach } from './attach.js';
import { addStart } from './start.js';
import { addStatus } from './status.js';
import { addStop } from './stop.js';
import { addAdvise } from './advise.js';
import { addAlerts } from './alerts.js';
import { addBackup } from './backup.js';
import { addCompletion } from './completion.js';
import { addContainers } from './containers.js';
import { addExamples } from './example.js';
import { addExport } from './export.js';
import { addPcap } from './pcap.js';
import { addReplay } from './replay.js';
import { addHistory } from './history.js';
import { addReport } from './report.js';
import { addMcp } from './mcp/mcp.js';
import type { World } from './world.js';
import { addPlugin } from './plugin.js';
import { addRules } from './rules.js';
import { addRun } from './run.js';
import { addTop } from './top.js';
import { addServe } from './serve.js';
import { addQueries } from './queries.js';
import { addSessions } from './sessions.js';
import { addSnapshots } from './snapshot.js';
import { addTrackers } from './trackers.js';
import { addUpdate } from './update.js';
import { inFlag, Unsuccessful, UsageError } from './usage.js';

export const exitCode = { ok: 0, failure: 1, usage: 2 } as const;

/** All commands with their flags. */
export function createProgram(version: string, world: World): Command {
  const program = new Command('eunomia')
    .description('a GraphQL server for the Linux kernel, and its command line')
    .version(version)
    .showHelpAfterError('(see eunomia --help)')
    .exitOverride()
    // Beside flags with long names too, a terminal of 80 columns has room for words.
    .configureHelp({ minWidthToWrap: 20 })
    .configureOutput({
      writeErr: (text) => world.tell(text.trimEnd()),
      outputError: (text, write) => write(text.replace(/^error: /, 'eunomia: ')),
    });
  for (const add of [
    addServe,
    addTrackers,
    addContainers,
    addSnapshots,
    addRun,
    addTop,
    addStatus,
    addSessions,
    addStart,
    addAttach,
    addStop,
    addAlerts,
    addQueries,
    addPcap,
    addUpdate,
    addHistory,
    addExport,
    addReplay,
    addReport,
    addAdvise,
    addBackup,
    addPlugin,
    addRules,
    addCompletion,
  ])
    add(program, world);
  addMcp(program, world, {
    version,
    create: (own) => createProgram(version, own),
    run: (argv, own) => runProgram(argv, version, own),
  });
  for (const command of program.commands) addExamples(command);
  for (const command of program.commands.flatMap((each) => [each, ...each.commands]))
    command
      .exitOverride()
      .copyInheritedSettings(program)
      .showHelpAfterError(`(see ${pathOf(command)} --help)`);
  return program;
}

/** "eunomia alerts show": what somebody types for it. */
function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
}

/** Runs one command, `argv` without node and script; returns the exit code and never throws. */
export async function runProgram(argv: readonly string[], version: string, world: World): Promise<number> {
  const program = createProgram(version, world);
  let run = program;
  program.hook('preAction', (_program, command) => void (run = command));
  const has = (flag: string): boolean => run.options.some(({ long }) => long === flag);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCode.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage; // it has printed its message
    world.tell(`eunomia: ${textOf(inFlag(error, has))}`);
    return isUsage(error) ? exitCode.usage : exitCode.failure;
  }
}

const USAGE: ReadonlySet<string> = new Set(['BAD_USER_INPUT', 'BAD_CONFIG', 'UNKNOWN_TRACKER']);

/** What the server rejects as bad input came from this command line too. */
function isUsage(error: unknown): boolean {
  return error instanceof UsageError || (error instanceof EunomiaError && USAGE.has(error.code));
}

/** One clear line for what can happen; the stack for what cannot. */
function textOf(error: unknown): string {
  if (error instanceof UsageError || error instanceof Unsuccessful || error instanceof EunomiaError)
    return error.message;
  if (!(error instanceof Error)) return messageOf(error);
  const { code, syscall, address, port, path } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  if (code === 'EADDRINUSE')
    return `port ${port} of ${address} is in use: stop what uses it, or choose another with --port (0 takes a free one)`;
  if (code === 'EACCES' && syscall === 'listen')
    return `no right to listen on port ${port}: choose one from 1024 on with --port, or run as root`;
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return `${address ?? 'the host'} is no address of this machine: see --host (${error.message})`;
  if (syscall !== undefined) return path === undefined ? error.message : `${error.message}`;
  return error.stack ?? error.message;
}
