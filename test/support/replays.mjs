// node replays.mjs FILE…: what `eunomia replay` prints of each, one after the other, by the program that set-up has built. One process
// for all: a process each takes longer to start than to print.
import { openOutput } from '../../build/cli/output.js';
import { runProgram } from '../../build/cli/program.js';
import { serveLocally } from '../../build/server/serve.js';

const output = openOutput();
const world = {
  output,
  local: serveLocally,
  tell: (line) => process.stderr.write(`${line}\n`),
  signal: new AbortController().signal,
};
for (const file of process.argv.slice(2)) await runProgram(['replay', file], '0.0.0', world);
process.exit(0);
