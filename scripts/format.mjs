// `npm run format`: lays out TypeScript with prettier and C with clang-format. `npm run lint` checks the same.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setUpOrExit } from './setup.mjs';
import { filesUnder, root, runTool } from './setup/project.mjs';

const CACHE = ['--cache', '--cache-location', '.cache/prettier', '--log-level', 'warn'];

/** Runs both formatters; with `write` they change files, otherwise they complain about those that they would change. */
export function format(write) {
  const c = ['bpf', 'bench', 'test'].flatMap((folder) => filesUnder(folder, (name) => /\.[ch]$/.test(name)));
  const runs = [runTool('prettier', [...CACHE, write ? '--write' : '--check', '.'])];
  // The package clang-format holds binaries for some machines only; CI is one of them.
  if (existsSync(join(root, `node_modules/clang-format/bin/linux_${process.arch}`))) {
    runs.push(runTool('clang-format', [...(write ? ['-i'] : ['--dry-run', '--Werror']), ...c]));
  }
  return Promise.all(runs);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await setUpOrExit({ quiet: true });
  const failed = (await format(true)).filter(({ ok }) => !ok);
  for (const { output } of failed) process.stdout.write(output);
  process.exitCode = failed.length ? 1 : 0;
}
