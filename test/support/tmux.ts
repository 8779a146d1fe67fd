import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const exec = promisify(execFile);

/** What tmux leaves of the terminals in it, and colours that programs find in TERM. */
const CONFIG = `
set -g remain-on-exit on
set -g remain-on-exit-format ""
set -g history-limit 20000
set -g default-terminal tmux-256color
`;

export interface Captured {
  /** What is on the terminal, and above it. */
  readonly lines: readonly string[];
  /** The same where a line that the terminal has wrapped is one. */
  readonly joined: readonly string[];
  /** With what colours it. */
  readonly colored: string;
  /** The column of the cursor, from 0. */
  readonly cursor: number;
}

/** Runs a command of a shell on a terminal of so many columns, and shows what is there when it has ended. */
export async function capture(command: string, columns: number, env: NodeJS.ProcessEnv = {}): Promise<Captured> {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-tmux-'));
  const config = join(folder, 'tmux.conf');
  await writeFile(config, CONFIG);
  const tmux = async (...args: readonly string[]): Promise<string> => {
    const whole = ['-u', '-f', config, '-S', join(folder, 'socket'), ...args];
    // Nothing of the environment of whoever runs the test: Node shows no colours in a CI, either.
    const { PATH, HOME } = process.env;
    return (await exec('tmux', whole, { env: { PATH, HOME, LC_ALL: 'C.UTF-8', ...env }, maxBuffer: 16 << 20 })).stdout;
  };
  // The terminal answers where its cursor is when it has taken all that was written before.
  const asking = `IFS='[;' read -rsd R -p $'\\e[6n' _ _ column < /dev/tty; echo "$column" > cursor.part; mv cursor.part cursor`;
  const script = join(folder, 'script');
  await writeFile(script, `(${command}\n)\ncd ${folder}; ${asking}\n`);
  try {
    await tmux('new-session', '-d', '-x', String(columns), '-y', '50', `bash ${script}`);
    let column = '';
    while (!column) {
      column = await readFile(join(folder, 'cursor'), 'utf8').catch(() => '');
      if (!column) await sleep(50);
    }
    const shown = async (...flags: string[]): Promise<readonly string[]> =>
      (await tmux('capture-pane', '-p', '-S', '-', ...flags)).trimEnd().split(/ *\n/);
    return {
      lines: await shown(),
      joined: await shown('-J'),
      cursor: Number(column) - 1,
      colored: await tmux('capture-pane', '-p', '-e', '-S', '-'),
    };
  } finally {
    await tmux('kill-server').catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  }
}
