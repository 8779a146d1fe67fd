import { parseArgs } from 'node:util';
import { Report } from './figure.js';
import { fairness } from './fairness.js';
import { floods } from './floods.js';
import { history } from './history.js';
import { pieces } from './pieces.js';
import { plugins } from './plugins.js';
import { query } from './query.js';
import { syscount } from './syscount.js';
import { throughput } from './throughput.js';
import { trackers } from './trackers.js';

/** Runs one benchmark by its name. Adding one: a file that exports a function like these, and its line here. */
const benches: Readonly<Record<string, (report: Report, options: { readonly quick: boolean }) => Promise<void>>> = {
  throughput,
  query,
  syscount,
  history,
  plugins,
  fairness,
  floods,
  pieces,
  trackers,
};

const usage = `npm run --silent bench -- NAME [--json] [--quick]; NAME is one of: ${Object.keys(benches).join(', ')}`;

function fail(message: string): never {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(2);
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, quick: { type: 'boolean', default: false } },
    });
  } catch (error) {
    return fail(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
  }
}

const { values, positionals } = readArguments();
const [name, ...more] = positionals;
if (name === undefined || more.length) fail(usage);
const bench = benches[name];
if (!bench || !Object.hasOwn(benches, name))
  fail(`there is no benchmark "${name}"; there are: ${Object.keys(benches).join(', ')}`);
if (process.getuid?.() !== 0) fail('tracing needs root');

/** No benchmark takes so long: something waits for what never comes. */
const LONGEST_MS = values.quick ? 120_000 : 3_600_000;
setTimeout(() => fail(`${name} has not ended after ${LONGEST_MS / 1000} s`), LONGEST_MS).unref();
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const report = new Report(name, values.json);
await bench(report, { quick: values.quick });
report.end();
