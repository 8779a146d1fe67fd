import { columnOf, type Column, type TrackerInfo } from './field.js';

const first = ['time', 'container.name', 'process.pid', 'process.comm'];

/** What a table shows where nobody said --fields. */
export function tableColumns(trackers: readonly TrackerInfo[]): readonly Column[] {
  const known = new Set(trackers.flatMap(({ fields }) => fields.map(({ path }) => path)));
  const start = trackers.length > 1 ? ['time', 'tracker', ...first.slice(1)] : first;
  const paths = [...start, ...trackers.flatMap(({ columns }) => columns)];
  return [...new Set(paths)].filter((path) => known.has(path)).map(columnOf);
}
