import { parseArgs } from 'node:util';
import { advice } from './advice.js';
import { compare } from './compare.js';
import { CostFile } from './costs.js';
import { Report } from './figure.js';
import { fairness } from './fairness.js';
import { floods } from './floods.js';
import { graph } from './graph.js';
import { history } from './history.js';
import { idle } from './idle.js';
import { memory } from './memory.js';
import { pieces } from './pieces.js';
import { plugins } from './plugins.js';
import { query } from './query.js';
import { rollup } from './rollup.js';
import { rules } from './rules.js';
import { scale } from './scale.js';
import { syscount } from './syscount.js';
import { start } from './start.js';
import { throughput } from './throughput.js';
import { trackers } from './trackers.js';

/** Runs one benchmark by its name. Adding one: a file that exports a function like these, and its line here. */
interface BenchOptions {
  readonly quick: boolean;
  /** Of `trackers`: those that are measured; none is all. */
  readonly only: readonly string[];
  /** Of `trackers`: takes their costs for the documentation. */
  readonly costs: CostFile | null;
}
const benches: Readonly<Record<string, (report: Report, options: BenchOptions) => Promise<void>>> = {
  advice,
  throughput,
  query,
  syscount,
  history,
  plugins,
  fairness,
  idle,
  memory,
  floods,
  graph,
  pieces,
  rollup,
  rules,
  start,
  trackers,
  scale,
};

const usage =
  `npm run --silent bench -- NAME [--json] [--quick]; NAME is one of: ${Object.keys(benches).join(', ')}; ` +
  'trackers takes names of trackers too, and --out FILE (docs/costs.json) for their costs; or compare --before DIRECTORY NAME… [--json]';

function fail(message: string): never {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(2);
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        before: { type: 'string' },
        out: { type: 'string' },
      },
    });
  } catch (error) {
    return fail(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
  }
}

function benchOf(name: string) {
  const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
  return bench ?? fail(`there is no benchmark "${name}"; there are: ${Object.keys(benches).join(', ')}`);
}

/** What the arguments ask for. */
function chosen(): (report: Report) => Promise<void> {
  const [name, ...more] = positionals;
  const { before, out, quick } = values;
  if (out !== undefined && name !== 'trackers') fail(`--out belongs to trackers\n${usage}`);
  if (name === 'compare') {
    if (before === undefined || !more.length) fail(usage);
    more.forEach(benchOf);
    return (report) => compare(report, before, more);
  }
  if (name === undefined || (more.length && name !== 'trackers') || before !== undefined) fail(usage);
  const bench = benchOf(name);
  const costs = out === undefined ? null : costFile(out);
  return (report) => bench(report, { quick, only: more, costs });
}

function costFile(path: string): CostFile {
  try {
    return new CostFile(path);
  } catch (error) {
    return fail(`--out: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const { values, positionals } = readArguments();
const bench = chosen();
if (process.getuid?.() !== 0) fail('tracing needs root');

/** No benchmark takes so long: something waits for what never comes. */
const LONGEST_MS = values.quick && values.before === undefined ? 120_000 : 3_600_000;
setTimeout(() => fail(`${positionals[0]} has not ended after ${LONGEST_MS / 1000} s`), LONGEST_MS).unref();
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const report = new Report(positionals[0] ?? '', values.json);
await bench(report);
report.end();
if (values.out !== undefined) process.stderr.write(`${values.out}: written; for docs/trackers.md: npm run build\n`);
