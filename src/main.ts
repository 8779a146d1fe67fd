#!/usr/bin/env node
import { packageVersion } from './base/paths.js';
import { openOutput } from './cli/output.js';
import { runProgram } from './cli/program.js';
import { visibleLines } from './base/visible.js';

const stopping = new AbortController();
// What is written, by DuckDB too, holds command lines of other users: it is for the owner alone.
process.umask(0o077);

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // The second one is meant: what the kernel holds for us goes with the process.
    if (stopping.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
    stopping.abort();
  });
}

const output = openOutput();
const code = await runProgram(process.argv.slice(2), packageVersion(), {
  // Loaded when needed: a command that asks another server starts in half the time.
  serve: async (config, log) => (await import('./server/serve.js')).serve(config, log),
  local: async (config, log) => (await import('./server/serve.js')).serveLocally(config, log),
  testPlugin: async (test, onOutcome) => (await import('./server/plugin-test.js')).testPlugin(test, onOutcome),
  output,
  tell: (line) => process.stderr.write(`${visibleLines(line)}\n`),
  signal: stopping.signal,
});
output.close();
process.exit(code);
