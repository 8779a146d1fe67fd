#!/usr/bin/env node
import { keepCompiled } from './base/compiled.js';
import { packageVersion } from './base/paths.js';
import { openOutput } from './cli/output.js';
import { runProgram } from './cli/program.js';
import { stopping } from './cli/stopping.js';
import { visibleLines } from './base/visible.js';

keepCompiled();
const { signal: stopped, receive } = stopping((code) => process.exit(code));
// What is written, by DuckDB too, holds command lines of other users: it is for the owner alone.
process.umask(0o077);

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, receive);

// Whoever read it has gone (`2>&1 | head`). What was begun is ended in order all the same.
process.stderr.on('error', () => undefined);
const output = openOutput();
const code = await runProgram(process.argv.slice(2), packageVersion(), {
  // Loaded when needed: a command that asks another server starts in half the time.
  serve: async (config, log) => (await import('./server/serve.js')).serve(config, log),
  local: async (config, log) => (await import('./server/serve.js')).serveLocally(config, log),
  testPlugin: async (test, onOutcome) => (await import('./server/plugin-test.js')).testPlugin(test, onOutcome),
  importRules: async (request) => (await import('./server/rule-import.js')).importRules(request),
  rules: {
    check: async (paths) => (await import('./server/rule-test.js')).checkRules(paths),
    test: async (paths, rule, onOutcome) => (await import('./server/rule-test.js')).testRules(paths, rule, onOutcome),
    explain: async (paths, rule) => (await import('./server/rule-test.js')).explainRulesAt(paths, rule),
  },
  output,
  tell: (line) => process.stderr.write(`${visibleLines(line)}\n`),
  signal: stopped,
});
output.close();
process.exit(code);
