import { DetailsTemplate } from '../event/details.js';
import { columnOf, valueAt, type FieldColumn, type EventFields, type TrackerInfo } from './field.js';

const first = ['time', 'container.name', 'process.pid', 'process.comm'];

/** What CSV has where nobody said --fields. */
export function tableColumns(trackers: readonly TrackerInfo[]): readonly FieldColumn[] {
  const known = new Set(trackers.flatMap(({ fields }) => fields.map(({ path }) => path)));
  const start = trackers.length > 1 ? ['time', 'tracker', ...first.slice(1)] : first;
  const paths = [...start, ...trackers.flatMap(({ columns }) => columns)];
  return [...new Set(paths)].filter((path) => known.has(path)).map(columnOf);
}

/** A field that tells whether it succeeded. */
export interface Outcome extends FieldColumn {
  readonly success: 0 | null;
}

/** An exit code is null where a signal killed the process. */
export function outcomesOf(fields: TrackerInfo['fields']): readonly Outcome[] {
  return fields.flatMap(({ path, type }) => {
    if (path === 'exitCode') return { ...columnOf(path), success: 0 };
    return type.name.startsWith('Errno') ? { ...columnOf(path), success: null } : [];
  });
}

export function hasFailed(event: EventFields, outcomes: readonly Outcome[]): boolean {
  return outcomes.some((column) => (valueAt(event, column) ?? null) !== column.success);
}

/** What lines of events are made of. */
export function lineColumns(trackers: readonly TrackerInfo[]): readonly FieldColumn[] {
  const told = trackers.flatMap(({ details, fields }) => [
    ...new DetailsTemplate(details).fields,
    ...outcomesOf(fields).map(({ path }) => path),
  ]);
  return [...new Set(['time', 'container.name', 'container.id', 'process.pid', 'process.comm', ...told])].map(columnOf);
}
