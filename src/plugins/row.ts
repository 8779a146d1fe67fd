import type { TraceEvent } from '../event/event.js';

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
  const read = (from: string, names: readonly string[]): string[] =>
    names.map((name) => `${JSON.stringify(name)}: ${from}[${JSON.stringify(name)}]`);
  const process = inside('process');
  const container = read('c', inside('container'));
  if (labels.length) container.push(`labels: { ${labels.map((label) => `${label}: c.labels[${label}]`).join(', ')} }`);
  const parts = ['tracker: e.tracker', ...read('e', own)];
  if (process.length) parts.push(`process: { ${read('p', process).join(', ')} }`);
  if (container.length) parts.push(`container: c && { ${container.join(', ')} }`);
  const body =
    `const p = ${process.length ? 'e.process' : 'null'}; const c = ${container.length ? 'e.container' : 'null'}; ` +
    `return { ${parts.join(', ')} };`;
  // oxlint-disable-next-line no-new-func -- made of checked names, quoted
  return new Function('e', body) as RowMaker;
}
