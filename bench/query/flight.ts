import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '#eunomia/base/paths.js';
import type { Report } from '../figure.js';

const TEST = 'test/kernel/push.test.ts';
/** Sessions at a time: the more, the fewer workloads are run. The test's server allows 64, and one is the reference. */
const LARGEST_BATCH = 50;
/** Each batch flies over other trackers; so many, and all have had their turn. */
const BATCHES = 7;

interface Flown {
  readonly filters: number;
  readonly pushed: number;
  readonly taken: number;
  readonly refused: number;
  readonly differences: number;
  /** The first of them. */
  readonly first: readonly string[];
}

/**
 * Random filters over a real workload: what programs evaluate against what the predicate in user space does. Flown by the
 * test of it, further.
 */
export async function measureFlight(report: Report, filters: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  try {
    const {
      filters: flown,
      pushed,
      differences,
      first,
      taken,
      refused,
    } = await fly(filters, join(folder, 'flight.json'));
    report.add(
      'flight: random filters',
      flown,
      'filters',
      { goal: filters, better: 'higher' },
      'each evaluated by programs and by the predicate, over one workload',
    );
    report.add(
      'flight: of these, evaluated in the kernel',
      pushed,
      'filters',
      null,
      `${taken} events taken, ${refused} that programs did not make`,
    );
    report.add('flight: filters of which the two differ', differences, 'filters', { goal: 0, better: 'lower' });
    for (const one of first) process.stderr.write(`query: ${one}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Rejects when the test did not come so far as to tell what it saw. */
async function fly(filters: number, file: string): Promise<Flown> {
  const said = await new Promise<string>((resolve) => {
    const env = {
      ...process.env,
      EUNOMIA_FLIGHT_FILTERS: String(filters),
      EUNOMIA_FLIGHT_BATCH: String(Math.min(LARGEST_BATCH, Math.ceil(filters / BATCHES))),
      EUNOMIA_FLIGHT_FILE: file,
    };
    execFile(
      process.execPath,
      [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'kernel', TEST],
      { cwd: root, env, maxBuffer: 64 << 20 },
      (_, out, err) => resolve(`${out}${err}`),
    );
  });
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Flown;
  } catch (cause) {
    throw new Error(`the flight ended early:\n${said}`, { cause });
  }
}
