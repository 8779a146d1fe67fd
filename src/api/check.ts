import { Kind, type GraphQLResolveInfo, type ValueNode } from 'graphql';
import { invalid } from '../errors.js';
import { formatDuration } from './scalars.js';

/** Checks of arguments. `where` is the argument's path; every message says what would be right. */

const HOUR = 3_600_000;
export const DAYS_30 = 30 * 24 * HOUR;

/** A whole number in a range. */
export function inRange(where: string, value: number, min: number, max: number, unit = ''): number {
  if (value >= min && value <= max) return value;
  const of = unit && ` ${unit}`;
  throw invalid(where, `${value} is out of range; give ${number(min)} to ${number(max)}${of}`, { min, max, value });
}

/** A span of milliseconds in a range. */
export function spanInRange(where: string, ms: number, min: number, max: number): number {
  if (ms >= min && ms <= max) return ms;
  throw invalid(where, `"${formatDuration(ms)}" is out of range; give "${span(min)}" to "${span(max)}"`, {
    minMs: min,
    maxMs: max,
    valueMs: ms,
  });
}

/** A text with a length in UTF-16 units, not empty. */
export function textInRange(where: string, text: string, max: number): string {
  if (text.length >= 1 && text.length <= max) return text;
  throw invalid(
    where,
    text === '' ? 'is empty; leave it out or give a text' : `has ${text.length} characters; at most ${max} are allowed`,
    { max },
  );
}

/** A list that must not be empty: OR of nothing would match nothing, which nobody means. */
export function listInRange<Item>(where: string, list: readonly Item[], max: number, example: string): readonly Item[] {
  if (list.length === 0) throw invalid(where, `is empty; leave it out, or give at least one, for example ${example}`);
  if (list.length > max)
    throw invalid(where, `has ${list.length} entries; at most ${number(max)} are allowed`, {
      max,
      actual: list.length,
    });
  return list;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

function span(ms: number): string {
  return ms % (24 * HOUR) === 0 ? `${ms / HOUR}h` : formatDuration(ms);
}

/**
 * Whether the client wrote a value at this path of the field's arguments: a default looks the same to a resolver.
 * `variables` are those of the request, not coerced.
 */
export function isWritten(
  info: GraphQLResolveInfo,
  variables: Readonly<Record<string, unknown>>,
  [name = '', ...path]: readonly string[],
): boolean {
  const argument = info.fieldNodes[0]?.arguments?.find((node) => node.name.value === name);
  return argument !== undefined && has(argument.value, variables, path);
}

function has(node: ValueNode, variables: Readonly<Record<string, unknown>>, path: readonly string[]): boolean {
  if (node.kind === Kind.VARIABLE) {
    let value: unknown = variables[node.name.value];
    for (const key of path) value = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
    return value !== undefined && value !== null;
  }
  const [key, ...rest] = path;
  if (key === undefined) return node.kind !== Kind.NULL;
  if (node.kind !== Kind.OBJECT) return false;
  const field = node.fields.find((candidate) => candidate.name.value === key);
  return field !== undefined && has(field.value, variables, rest);
}
