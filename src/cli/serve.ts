import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Config } from '../base/config.js';
import { createLog } from '../base/log.js';
import { obtainToken, tokenFiles } from '../access/access-token.js';
import { configOf, readSources } from '../options/config.js';
import { allSettings, settingGroups } from '../options/table.js';
import { addSettings, givenFlags } from './flags.js';
import type { World } from './world.js';

/** How long a server whose kernel thread has died may take to tell its clients and to write its history. */
const DEAD_CLOSE_MS = 10_000;

export function addServe(program: Command, world: World): void {
  const command = program.command('serve').description('run the server, until SIGINT or SIGTERM');
  addSettings(command, settingGroups);
  command
    .addHelpText(
      'after',
      '\nA flag takes precedence over its variable, and that over the configuration file.\n--no-NAME turns a ' +
        'switch off.\ndocs/configuration.md has all of them.',
    )
    .action(() => {
      const config = configOf(readSources(givenFlags(command, allSettings), process.env));
      return serve(config, world, { kept: keptIn(config) });
    });
}

function keptIn({ dataDirectory }: Config): string {
  return dataDirectory === null
    ? 'no data directory: nothing is kept after the end (--data-dir)'
    : `data directory: ${dataDirectory}`;
}

/**
 * Runs a server until its end is wanted. Rejects with what kills it, or with why it does not start. `says`: what it
 * does, before "on ADDRESS"; `kept`: a line about what lasts.
 */
export async function serve(
  given: Config,
  world: World,
  { says = 'Eunomia listens', kept = null }: { readonly says?: string; readonly kept?: string | null } = {},
): Promise<void> {
  const token = given.tokens.length > 0 || given.insecureNoAuth ? null : obtainToken(tokenFiles(given.dataDirectory));
  const config = { ...given, localToken: token?.secret ?? null };
  const listener = await world.serve(config, createLog(config.logLevel));
  let died: Error | null = null;
  try {
    await world.output.write(`${says} on ${listener.url}\n`);
    for (const line of accessLines(config, listener.url, token?.file ?? null)) world.tell(line);
    if (kept !== null) world.tell(kept);
    died = await Promise.race([listener.died, aborted(world.signal)]);
  } finally {
    const closed = listener.close();
    // What it had attached is still there, and nobody reads it: only the end of the process detaches it.
    await (died ? Promise.race([closed, sleep(DEAD_CLOSE_MS, undefined, { ref: false })]) : closed);
  }
  if (died) throw died;
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    else signal.addEventListener('abort', () => resolve(null), { once: true });
  });
}

/** Who may use a server that was given no tokens. The link goes to a terminal only: elsewhere, it would end in a log. */
function accessLines(
  { tokens, insecureNoAuth, localToken }: Config,
  url: string,
  file: string | null,
): readonly string[] {
  if (tokens.length > 0) return [];
  if (insecureNoAuth)
    return ['--insecure-no-auth: every user of this machine, and every container with its network, is an operator'];
  const me = process.geteuid?.() ?? 0;
  const users = me === 0 ? process.env['SUDO_UID'] : me;
  const owners = `operators: root${users === undefined ? '' : `, the user ${users}`}`;
  if (file === null || localToken === null)
    return [`${owners}; nobody else, for no file for a token can be made (--data-dir, --tokens-file)`];
  const link = process.stderr.isTTY ? [`signed in, for a browser of another user: ${url}#token=${localToken}`] : [];
  return [`${owners}, and who has the token in ${file}`, ...link];
}
