// docs/costs.json, which `npm run bench -- trackers --out docs/costs.json` writes → the costs in docs/trackers.md.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError, root } from './project.mjs';

export const costsFile = 'docs/costs.json';
/** A run without --quick has as many. */
const WHOLE_ROUNDS = 15;
const columns = [
  ['Not traced', 'untracedNs'],
  ['Default fields', 'watchedNs'],
  ['… by the kernel', 'insideNs'],
  ['No field on demand', 'leanNs'],
  ['Another process', 'otherNs'],
  ['Empty programs', 'emptyNs'],
  ['Event, bytes', 'eventBytes'],
  ['Start, ms', 'startMs'],
];

/** The costs that were measured, by tracker: an empty object where none were. */
export function readCosts() {
  const path = join(root, costsFile);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
}

/** The section of the page on costs. Throws a SetupError where the file does not fit the trackers of these names. */
export function costsSection(costs, names) {
  const measured = Object.keys(costs);
  const gone = measured.filter((name) => !names.includes(name));
  if (gone.length > 0) throw new SetupError(`${costsFile} has costs of ${gone.join(', ')}: there is no such tracker`);
  const missing = names.filter((name) => !(name in costs));
  const runs = [...new Set(measured.map((name) => runOf(name, costs[name])))];
  return [
    '## Costs',
    `What a tracker adds to an operation of a process, in nanoseconds: where the process is watched with the fields that a session
captures by default, by the clock; the same by the kernel's count of the programs' time, over fewer calls, which takes some time itself;
where it is watched with no field on demand; where a session watches another process; and what programs on the same hooks add that do
nothing, the part that no program can be without. An operation may be several system calls, with several events. Then the size of an
event as it is kept, and how long a session takes to start. An operation that takes long varies from time to time by more than its hooks
take, so that a figure can be below 0. "–" was not measured. The figures come from
[costs.json](costs.json), which the [benchmark](benchmarks.md#trackers) \`trackers\` writes.`,
    measured.length > 0 ? table(costs, runs) : 'No tracker has been measured.',
    ...(measured.length > 0 && missing.length > 0 ? [`Not measured: ${missing.map(linked).join(', ')}.`] : []),
    ...(runs.length > 0 ? [runs.map((run, index) => `${index + 1}. ${run}`).join('\n')] : []),
  ].join('\n\n');
}

function table(costs, runs) {
  const head = ['Tracker', 'Operation', ...columns.map(([title]) => title), 'Run'];
  const rows = Object.entries(costs).map(([name, cost]) => {
    const figures = columns.map(([, member]) => figure(name, cost, member));
    return [linked(name), cost.operation.replaceAll('|', '\\|'), ...figures, runs.indexOf(runOf(name, cost)) + 1];
  });
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const sides = head.map((title) => (title === 'Tracker' || title === 'Operation' ? '---' : '---:'));
  return [line(head), line(sides), ...rows.map(line)].join('\n');
}

function figure(name, cost, member) {
  const value = cost[member];
  if (value === null) return '–';
  if (typeof value !== 'number') throw new SetupError(`${costsFile}: ${name}.${member} is no number`);
  return value.toLocaleString('en-US').replace('-', '− ');
}

function runOf(name, { date, machine, rounds, load }) {
  if (!date || !machine || typeof rounds !== 'number' || typeof load !== 'number')
    throw new SetupError(`${costsFile}: ${name} does not say when, where and in how many rounds it was measured`);
  const short = rounds < WHOLE_ROUNDS ? ', `--quick`: an indication' : '';
  return `${date}, ${machine}, medians of ${rounds} rounds${short}, load average ${load} before it.`;
}

function linked(name) {
  return `[${name}](#${name.toLowerCase()})`;
}
