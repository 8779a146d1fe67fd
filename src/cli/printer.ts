import {
  allColumns,
  chosenColumns,
  columnOf,
  headersOf,
  knownPaths,
  selectionOf,
  textAt,
  valueAt,
  type EventFields,
  type FieldColumn,
  type Selection,
  type TrackerInfo,
} from './field.js';
import { hasFailed, lineColumns, outcomesOf, tableColumns } from './column.js';
import { EventLines, type Terminal } from './lines.js';
import type { Painted } from './paint.js';
import { DetailsTemplate } from '../event/details.js';
import { fieldType } from '../event/scalar.js';
import { csvCell, csvLine, type CsvKind } from '../base/csv.js';
import { Table } from './format.js';

export type Format = 'table' | 'json' | 'csv';

/** Turns events into the text of one output format. */
export interface Printer {
  /** The fields that it prints. */
  readonly paths: readonly string[];
  /** What must be selected of an event. */
  readonly selection: string;
  /** The text of these events; with `gap`, its line before them, where the format has one. */
  print(events: readonly EventFields[], gap?: object | null): string | Painted;
  /** What comes before the first event: a header, so that output without events is valid. */
  readonly head: string;
}

export interface PrinterOptions {
  /** Where it goes; of width null cuts nothing. */
  readonly terminal: Terminal;
  readonly format: Format;
  /** Paths; null for what the format shows by itself: json everything, a table what fits a line. */
  readonly fields: readonly string[] | null;
}

export function createPrinter(trackers: readonly TrackerInfo[], { format, fields, terminal }: PrinterOptions): Printer {
  const columns = columnsFor(trackers, format, fields);
  const selections = new Map(trackers.map((tracker) => [tracker.eventType, selectionOf(tracker, columns, trackers)]));
  const selection = ['__typename', ...[...selections.values()].map(({ fragment }) => fragment)].join(' ');
  const read = (event: EventFields): EventFields => reader(selections, event);
  const headers = columns.map(({ path }) => path);
  if (format === 'json') {
    return {
      paths: headers,
      selection,
      head: '',
      print: (events, gap) =>
        [...(gap ? [{ gap }] : []), ...events.map(read)].map((event) => `${JSON.stringify(event)}\n`).join(''),
    };
  }
  if (format === 'csv') {
    const kinds = columns.map((column) => kindOf(trackers, column));
    return {
      paths: headers,
      selection,
      head: csvLine(headers.map((header) => csvCell(header, 'TEXT'))),
      print: (events) =>
        events
          .map(read)
          .map((event) => csvLine(columns.map((column, i) => csvCell(valueAt(event, column), kinds[i] ?? 'TEXT'))))
          .join(''),
    };
  }
  if (fields === null) return linePrinter(trackers, { columns, selection, read, terminal });
  const table = new Table(headersOf(headers, knownPaths(trackers)), terminal.width);
  return {
    paths: headers,
    selection,
    head: '', // with the first events: their widths are the columns'
    print: (events) =>
      events.length
        ? table.render(events.map(read).map((event) => columns.map((column) => textAt(event, column))))
        : '',
  };
}

/** A line for each event; what it tells is of its tracker's template. */
function linePrinter(
  trackers: readonly TrackerInfo[],
  {
    columns,
    selection,
    read,
    terminal,
  }: Pick<Printer, 'selection'> &
    Pick<PrinterOptions, 'terminal'> & {
      readonly columns: readonly FieldColumn[];
      readonly read: (event: EventFields) => EventFields;
    },
): Printer {
  const lines = new EventLines(terminal, trackers.length > 1);
  const types = new Map(
    trackers.map(({ name, eventType, details, fields }) => [
      eventType,
      {
        name,
        template: new DetailsTemplate(details),
        typeOf: new Map(fields.map(({ path, type }) => [path, type.name])),
        outcomes: outcomesOf(fields),
      },
    ]),
  );
  return {
    paths: columns.map(({ path }) => path),
    selection,
    head: '', // with the first events: their widths are the columns'
    print: (events) =>
      lines.render(
        events.flatMap((each) => {
          const tracker = types.get(String(each['__typename']));
          if (!tracker) return [];
          const event = read(each);
          const text = (path: string): string => textAt(event, columnOf(path));
          return {
            time: text('time').replace(/Z$/, ''),
            container: text('container.name') || text('container.id').slice(0, 12),
            pid: text('process.pid'),
            comm: text('process.comm'),
            event: tracker.name,
            details: tracker.template.render((path) => ({
              value: valueAt(event, columnOf(path)),
              type: tracker.typeOf.get(path) ?? 'String',
            })),
            hasFailed: hasFailed(event, tracker.outcomes),
          };
        }),
      ),
  };
}

function kindOf(trackers: readonly TrackerInfo[], { path }: FieldColumn): CsvKind {
  const types = trackers.flatMap(({ fields }) =>
    fields.filter((field) => field.path === path).map(({ type }) => type.name),
  );
  return types.length > 0 && types.every((type) => !['text', 'list'].includes(fieldType(type).column))
    ? 'PLAIN'
    : 'TEXT';
}

function columnsFor(
  trackers: readonly TrackerInfo[],
  format: Format,
  fields: readonly string[] | null,
): readonly FieldColumn[] {
  if (fields) return chosenColumns(trackers, fields);
  if (format === 'table') return lineColumns(trackers);
  return format === 'json' ? allColumns(trackers) : tableColumns(trackers);
}

function reader(selections: ReadonlyMap<string, Selection>, event: EventFields): EventFields {
  const type = event['__typename'];
  return (typeof type === 'string' ? selections.get(type)?.read(event) : undefined) ?? {};
}
