import type { ASTNode } from '@marcbachmann/cel-js';
import { suggest } from '../base/errors.js';
import { listed } from '../base/listed.js';
import { and, isTracker, LABELS, type Filter } from './ast.js';
import { element, type FilterField, type FilterFields } from './field.js';

/** A field named in an expression. */
export interface Reference {
  readonly field: FilterField;
  /** The tracker named in front of the field: `open.path`. */
  readonly tracker: string | null;
}

/** Returns the condition on the field, and on the event's tracker if the expression names it. */
export function qualified({ tracker }: Reference, filter: Filter): Filter {
  return tracker === null ? filter : and([isTracker(tracker), filter]);
}

/**
 * Returns the names in a path, outermost object first: container, labels, a.b for `container.labels["a.b"]`; null if
 * the node is not a path.
 */
export function namesOf(node: ASTNode): string[] | null {
  switch (node.op) {
    case 'id':
      return [node.args];
    case '.': {
      const names = namesOf(node.args[0]);
      return names && [...names, node.args[1]];
    }
    case '[]': {
      const [object, index] = node.args;
      const names = namesOf(object);
      return names && index.op === 'value' && typeof index.args === 'string' ? [...names, index.args] : null;
    }
    default:
      return null;
  }
}

/**
 * Returns the field with these names, or why there is none. `variable` is the element of `list` in `exists(variable, …)`;
 * `readsProcesses` is that of `Definitions`.
 */
export function findField(
  names: readonly string[],
  fields: FilterFields,
  trackers: readonly string[],
  variable: string | null,
  list: FilterField | null = null,
  readsProcesses = false,
): Reference | string {
  const [first = '', ...rest] = names;
  const path = names.join('.');
  if (variable !== null) return findInElement(names, fields, variable, list);

  if (path.startsWith(LABELS)) {
    const field = fields.label(path.slice(LABELS.length));
    return field ? { field, tracker: null } : 'a label needs a name: container.labels["NAME"]';
  }
  if (path === LABELS.slice(0, -1)) return 'name a label: container.labels["NAME"]';

  const own = fields.own(first);
  if (own && rest.length > 0) {
    if (!trackers.includes(first)) return `the session has no tracker ${first}; it has ${trackers.join(', ')}`;
    const field = own.get(rest.join('.'));
    return field ? { field, tracker: first } : fields.missing([first], rest.join('.'));
  }
  const found = fields.among(trackers, path);
  if (!found)
    return own
      ? `${first} is a tracker; write tracker == "${first}", or name a field of it, for example ${first}.${[...own.keys()][0] ?? ''}`
      : fields.missing(trackers, path);
  const refusal = readsProcesses ? null : fields.refusalOf(found.field);
  if (refusal !== null) return refusal;
  if (found.mixed)
    return `"${path}" is of different types; name the tracker too: ${found.of.map((tracker) => `${tracker}.${path}`).join(' or ')}`;
  return { field: found.field, tracker: null };
}

function findInElement(
  names: readonly string[],
  fields: FilterFields,
  variable: string,
  list: FilterField | null,
): Reference | string {
  const [first, ...rest] = names;
  if (first !== variable) return `inside exists() only its variable can be compared: "${variable}"`;
  const inside = list ? fields.elementFields(list) : new Map<string, FilterField>();
  if (inside.size === 0)
    return rest.length === 0
      ? { field: element(list), tracker: null }
      : `inside exists() only its variable can be compared: "${variable}"`;
  const known = [...inside.keys()].map((path) => path.slice(1));
  const field = inside.get(`.${rest.join('.')}`);
  if (field) return { field, tracker: null };
  return rest.length === 0
    ? `"${variable}" is a process; compare a field of it, for example ${variable}.${known[0] ?? 'pid'}`
    : `a process of "${list?.path}" has no field "${rest.join('.')}"${suggest(rest.join('.'), known)}; it has ${listed(known)}`;
}
