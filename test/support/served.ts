import { join } from 'node:path';
import { root } from '../../src/base/paths.js';
import { firstLine, start } from './workload.js';

/** Rejects when the response has errors. */
export type Ask = <Data>(query: string) => Promise<Data>;

const token = 'a'.repeat(32);

/** Runs the server by a command that changes what it may do or sees of the machine, and ends it. */
export async function servedBy<Result>(
  command: readonly [program: string, ...args: string[]],
  use: (ask: Ask) => Promise<Result>,
  variables: Readonly<Record<string, string>> = {},
): Promise<Result> {
  const [program, ...args] = command;
  const child = start(
    program,
    [
      ...args,
      process.execPath,
      join(root, 'dist/main.js'),
      ...['serve', '--port', '0', '--engine', 'none', '--data-dir', 'none', '--log-level', 'error'],
      ...['--token', `operator:${token}`],
    ],
    { env: { ...process.env, ...variables } },
  );
  const url = /http:\S+/.exec(await firstLine(child))?.[0] ?? '';
  try {
    return await use(async <Data>(query: string) => {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ query }),
      });
      const { data, errors } = (await response.json()) as { data: Data; errors?: unknown };
      if (errors !== undefined) throw new Error(JSON.stringify(errors));
      return data;
    });
  } finally {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  }
}
