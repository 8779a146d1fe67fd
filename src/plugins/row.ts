import type { TraceEvent } from '../event/event.js';

/**
 * As a plugin gets a value, in code where `T` is `textOf`. All values of an event are as the schema has them, but of a container,
 * whose cgroup's id is a number in the server.
 */
export function valueOf(group: string, name: string, from: string): string {
  const value = `${from}[${JSON.stringify(name)}]`;
  return group === 'container' && name === 'cgroupId' ? `T(${value})` : value;
}

/** A number as text; anything else as it is. */
export function textOf(value: unknown): unknown {
  return typeof value === 'number' ? String(value) : value;
}

/** Makes the plain object that a sandboxed plugin gets for an event. */
export type RowMaker = (event: TraceEvent) => object;

const LABELS = 'container.labels.';

/** Compiles the reading of these paths, which the catalog has checked: a loop over paths would cost several times as much. */
export function compileRow(paths: readonly string[]): RowMaker {
  const own = paths.filter((path) => !path.includes('.'));
  const inside = (group: string): string[] =>
    paths
      .filter((path) => path.startsWith(`${group}.`) && !path.startsWith(LABELS))
      .map((path) => path.slice(group.length + 1));
  const labels = paths
    .filter((path) => path.startsWith(LABELS))
    .map((path) => JSON.stringify(path.slice(LABELS.length)));
  const read = (group: string, from: string, names: readonly string[]): string[] =>
    names.map((name) => `${JSON.stringify(name)}: ${valueOf(group, name, from)}`);
  const process = inside('process');
  const container = read('container', 'c', inside('container'));
  if (labels.length) container.push(`labels: { ${labels.map((label) => `${label}: c.labels[${label}]`).join(', ')} }`);
  const parts = ['tracker: e.tracker', ...read('', 'e', own)];
  if (process.length) parts.push(`process: { ${read('process', 'p', process).join(', ')} }`);
  if (container.length) parts.push(`container: c && { ${container.join(', ')} }`);
  const body =
    `const p = ${process.length ? 'e.process' : 'null'}; const c = ${container.length ? 'e.container' : 'null'}; ` +
    `return { ${parts.join(', ')} };`;
  const source = `return (e) => { ${body} };`;
  // oxlint-disable-next-line no-new-func -- made of checked names, quoted
  return (new Function('T', source) as (T: typeof textOf) => RowMaker)(textOf);
}
