import { DetailsTemplate } from '../event/details.js';
import { columnOf, type Column, type TrackerInfo } from './field.js';

const first = ['time', 'container.name', 'process.pid', 'process.comm'];

/** What CSV has where nobody said --fields. */
export function tableColumns(trackers: readonly TrackerInfo[]): readonly Column[] {
  const known = new Set(trackers.flatMap(({ fields }) => fields.map(({ path }) => path)));
  const start = trackers.length > 1 ? ['time', 'tracker', ...first.slice(1)] : first;
  const paths = [...start, ...trackers.flatMap(({ columns }) => columns)];
  return [...new Set(paths)].filter((path) => known.has(path)).map(columnOf);
}

/** What lines of events are made of. */
export function lineColumns(trackers: readonly TrackerInfo[]): readonly Column[] {
  const told = trackers.flatMap(({ details }) => new DetailsTemplate(details).fields);
  return [...new Set(['time', 'container.name', 'container.id', 'process.pid', 'process.comm', ...told])].map(columnOf);
}
