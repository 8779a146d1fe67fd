import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { median, type Figure, type Report } from './figure.js';

const ROUNDS = 3;
/** Medians of two versions may differ by this share before one counts as slower: runs of one version differ by as much. */
const NOISE = 0.1;

interface Side {
  readonly name: 'before' | 'after';
  readonly directory: string;
}

/**
 * Runs benchmarks of another checkout and of this one in turn, and reports for each figure how good this one is, in percent of the
 * other: above 100 is better, whether it is a rate or a time. The other checkout must have been built with its benchmarks
 * (`node scripts/setup.mjs --bench`). A figure that only one of them has is skipped. It counts as slower if the medians differ by
 * more than 10 % and every run of this checkout was worse than every run of the other one.
 */
export async function compare(report: Report, before: string, names: readonly string[]): Promise<void> {
  const sides: readonly Side[] = [
    { name: 'before', directory: before },
    { name: 'after', directory: process.cwd() },
  ];
  for (const name of names) {
    const runs = { before: new Map<string, Figure[]>(), after: new Map<string, Figure[]>() };
    for (let round = 0; round < ROUNDS; round++) {
      for (const side of round % 2 ? [...sides].reverse() : sides) {
        for (const figure of await run(side, name)) {
          const known = runs[side.name].get(figure.figure);
          if (known) known.push(figure);
          else runs[side.name].set(figure.figure, [figure]);
        }
      }
    }
    for (const [figure, after] of runs.after) {
      const earlier = runs.before.get(figure);
      if (earlier) add(report, name, after, earlier);
      else report.skip(`${name}: ${figure}`, 'the other checkout has no such figure');
    }
  }
}

function add(report: Report, name: string, after: readonly Figure[], before: readonly Figure[]): void {
  const { figure, unit } = after[0] as Figure;
  const isRate = unit.endsWith('/s');
  /** The better, the higher. */
  const merit = (figures: readonly Figure[]) => figures.map(({ value }) => (isRate ? value : 1 / value));
  const [now, then] = [merit(after), merit(before)];
  const ratio = median(now) / median(then);
  if (!Number.isFinite(ratio)) return report.skip(`${name}: ${figure}`, 'of 0 there is no share');
  const isSlower = ratio < 1 - NOISE && Math.max(...now) < Math.min(...then);
  const shown = (figures: readonly Figure[]) => figures.map(({ value }) => value.toLocaleString('en-US')).join(', ');
  report.add(
    `${name}: ${figure}`,
    ratio * 100,
    '% as good',
    { goal: 100, better: 'higher', noise: isSlower ? 0 : Number.POSITIVE_INFINITY },
    `${unit}; before ${shown(before)}; after ${shown(after)}`,
  );
}

/** The figures of one short run, in a process of its own. */
async function run({ directory }: Side, name: string): Promise<Figure[]> {
  // Earlier versions compile into dist/.
  const program = ['build', 'dist'].map((folder) => join(directory, folder, 'bench/main.js')).find(existsSync);
  if (!program) throw new Error(`${directory} has no benchmarks: node scripts/setup.mjs --bench builds them`);
  const child = spawn(process.execPath, [program, name, '--quick', '--json'], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (text += part));
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once('error', reject).once('close', resolve),
  );
  if (code !== 0) throw new Error(`${name} in ${directory} ended with ${code}`);
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Figure);
}
