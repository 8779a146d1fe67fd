import { formatDuration } from '../base/duration.js';
import { isOfElement, isShared, LABELS, type Any, type Comparison, type Filter, type Scalar } from './ast.js';

/**
 * Prints the filter as a CEL expression. For an optimised filter the text is canonical: equal filters have the same
 * text, and `parseCel` returns the same filter for the same trackers.
 */
export function print(filter: Filter): string {
  return printIn(filter, null, 0);
}

// Precedence: an operand is put in parentheses if it binds less tightly than its position requires.
const OR = 1;
const AND = 2;
const UNARY = 3;
const INFIX: Readonly<Record<string, string>> = { eq: '==', ne: '!=', lt: '<', lte: '<=', gt: '>', gte: '>=' };
const METHOD: Readonly<Record<string, string>> = {
  prefix: 'startsWith',
  suffix: 'endsWith',
  contains: 'contains',
  glob: 'glob',
  regex: 'matches',
};
/** The variable for an element of a list. */
const ELEMENT = 'x';

/** `tracker`: the only tracker whose events reach this part, so that its fields are prefixed with its name. */
function printIn(filter: Filter, tracker: string | null, place: number): string {
  switch (filter.kind) {
    case 'always':
      return String(filter.value);
    case 'not':
      return isPostfix(filter.filter)
        ? `!${printIn(filter.filter, tracker, UNARY)}`
        : `!(${printIn(filter.filter, tracker, 0)})`;
    case 'and': {
      const only = trackerOf(filter.filters) ?? tracker;
      // A field prefixed with the tracker's name implies the tracker.
      const said = only !== null && filter.filters.some((inner) => pathsOf(inner).some((path) => !isShared(path)));
      const parts = filter.filters.filter((inner) => !(said && isTrackerComparison(inner)));
      return wrap(parts.map((inner) => printIn(inner, only, AND)).join(' && '), parts.length > 1 ? AND : UNARY, place);
    }
    case 'or':
      return wrap(
        filter.filters.map((inner) => printIn(inner, tracker, OR)).join(' || '),
        filter.filters.length > 1 ? OR : UNARY,
        place,
      );
    case 'any':
      return printAny(filter, tracker, place);
    case 'pair':
      return wrap(
        `${pathOf(filter.left, tracker)} ${INFIX[filter.op] ?? filter.op} ${pathOf(filter.right, tracker)}`,
        UNARY,
        place,
      );
    case 'comparison':
      return wrap(printComparison(filter, pathOf(filter.path, tracker)), UNARY, place);
  }
}

/** The fields that it names itself. */
function pathsOf(filter: Filter): readonly string[] {
  if (filter.kind === 'pair') return [filter.left, filter.right];
  return filter.kind === 'comparison' || filter.kind === 'any' ? [filter.path] : [];
}

/** Whether its text is a field or a call, which binds more tightly than "!". A comparison does not. */
function isPostfix(filter: Filter): boolean {
  if (filter.kind === 'any') return !isMembership(filter.filter);
  return (
    filter.kind === 'comparison' &&
    (filter.op in METHOD ||
      filter.op === 'cidr' ||
      (filter.type === 'boolean' && filter.value === true && filter.op === 'eq'))
  );
}

/** Whether it asks for an element, of a list of texts, that is equal to a constant. */
export function isMembership(filter: Filter): filter is Comparison {
  return filter.kind === 'comparison' && filter.op === 'eq' && filter.path === '';
}

function wrap(text: string, binding: number, place: number): string {
  return binding < place ? `(${text})` : text;
}

function trackerOf(filters: readonly Filter[]): string | null {
  const [found] = filters.filter(isTrackerComparison);
  return found && typeof found.value === 'string' ? found.value : null;
}

function isTrackerComparison(filter: Filter): filter is Comparison {
  return filter.kind === 'comparison' && filter.path === 'tracker' && filter.op === 'eq';
}

function pathOf(path: string, tracker: string | null): string {
  if (isOfElement(path)) return `${ELEMENT}${path}`;
  if (path.startsWith(LABELS)) return `${LABELS.slice(0, -1)}[${quote(path.slice(LABELS.length))}]`;
  return tracker !== null && !isShared(path) ? `${tracker}.${path}` : path;
}

function printAny({ path, filter }: Any, tracker: string | null, place: number): string {
  const list = pathOf(path, tracker);
  if (isMembership(filter)) return wrap(`${literal(filter, filter.value)} in ${list}`, UNARY, place);
  return `${list}.exists(${ELEMENT}, ${printIn(filter, null, 0)})`;
}

function printComparison(comparison: Comparison, path: string): string {
  const { op, value, type } = comparison;
  if (type === 'age')
    return `time - ${path} ${INFIX[op] ?? op} duration(${quote(formatDuration(Number(value) / 1e6))})`;
  const subject = type === 'length' ? `size(${path})` : type === 'joined' ? `${path}.join(" ")` : path;
  if (op === 'isNull') return `${subject} ${value === true ? '==' : '!='} null`;
  if (op === 'in')
    return `${subject} in [${(Array.isArray(value) ? value : [value]).map((item: Scalar) => literal(comparison, item)).join(', ')}]`;
  if (op === 'cidr') return `cidr(${literal(comparison, value)}).containsIP(${subject})`;
  if (type === 'boolean' && op === 'eq') return value === true ? subject : `${subject} == false`;
  const method = METHOD[op];
  if (method) return `${subject}.${method}(${literal(comparison, value)})`;
  return `${subject} ${INFIX[op] ?? op} ${literal(comparison, value)}`;
}

function literal({ type }: Comparison, value: Comparison['value']): string {
  if (typeof value !== 'string') return String(value);
  if (type === 'uint64' || type === 'int64') return value;
  return type === 'time' ? `timestamp(${quote(value)})` : quote(value);
}

/**
 * Quotes a text. JSON's escapes are the same as CEL's, except for the solidus, which JSON.stringify does not escape.
 */
function quote(text: string): string {
  return JSON.stringify(text);
}
