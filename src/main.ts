#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { openOutput } from './cli/output.js';
import { runProgram } from './cli/program.js';
import { servers } from './cli/world.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const stopping = new AbortController();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // The second one is meant: what the kernel holds for us goes with the process.
    if (stopping.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
    stopping.abort();
  });
}

const output = openOutput();
const code = await runProgram(process.argv.slice(2), version, {
  // Loaded when needed: a command that asks another server starts in half the time.
  ...servers(
    async (config, log) => (await import('./app.js')).createApp(config, log),
    async (test, onOutcome) => (await import('./app.js')).testPlugin(test, onOutcome),
  ),
  output,
  tell: (line) => process.stderr.write(`${line}\n`),
  signal: stopping.signal,
});
output.close();
process.exit(code);
