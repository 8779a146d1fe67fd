import type { CallVariant } from './call.js';
import { and, cel, constant, FALSE, lost, not, or, TRUE, type CelTree } from './expression.js';
import type { ResolvedCheck } from './resolve.js';
import { compareText, type Text } from './text.js';

/** What the importer is told besides the file of rules. */
export interface ImportFacts {
  /** Ids of users by their names; null where no file of users was given. */
  readonly users: { readonly from: string; readonly ids: ReadonlyMap<string, readonly number[]> } | null;
  /** Addresses of hosts by their names. */
  readonly hosts: ReadonlyMap<string, readonly string[]>;
}

export type Compare = (check: ResolvedCheck, variant: CallVariant, facts: ImportFacts) => CelTree;

export interface FieldRow {
  /** Falco's fields. */
  readonly names: readonly string[];
  /** What they are here, for the documentation. */
  readonly ours: string;
  readonly compare: Compare;
}

export const text =
  (of: (variant: CallVariant) => Text | string): Compare =>
  (check, variant) => {
    const found = of(variant);
    return typeof found === 'string' ? lost(check.text, found) : compareText(found, check);
  };

export function integersOf({ values }: ResolvedCheck): readonly number[] | null {
  const numbers = values.map(({ text: value }) =>
    /^[+-]?(?:\d+|0[xX][\da-fA-F]+)$/.test(value) ? Number(value) : Number.NaN,
  );
  return numbers.every((value) => Number.isSafeInteger(value)) ? numbers : null;
}

const ORDERS: Readonly<Record<string, string>> = {
  '=': '==',
  '==': '==',
  '!=': '!=',
  '<': '<',
  '<=': '<=',
  '>': '>',
  '>=': '>=',
};

export function compareNumber(path: string, check: ResolvedCheck, shift = 0): CelTree {
  if (check.op === 'exists') return cel(`${path} != null`);
  const numbers = integersOf(check)?.map((number) => number + shift);
  if (!numbers) return lost(check.text, 'the value is no whole number');
  const symbol = ORDERS[check.op];
  if (symbol) return or(numbers.map((number) => cel(`${path} ${symbol} ${number}`)));
  if (check.op === 'in' || check.op === 'intersects')
    return numbers.length ? cel(`${path} in [${[...new Set(numbers)].join(', ')}]`) : FALSE;
  return lost(check.text, `"${check.op}" does not apply to a number`);
}

export const number =
  (path: string, shift = 0): Compare =>
  (check) =>
    compareNumber(path, check, shift);

/** A comparison of a number that is the same for all of these events. */
export function decide(value: (wanted: number) => number, check: ResolvedCheck): CelTree | null {
  const numbers = integersOf(check);
  if (!numbers) return null;
  const holds = (wanted: number): boolean => {
    const order = value(wanted);
    switch (check.op) {
      case '=':
      case '==':
      case 'in':
        return order === 0;
      case '!=':
        return order !== 0;
      case '<':
        return order < 0;
      case '<=':
        return order <= 0;
      case '>':
        return order > 0;
      default:
        return order >= 0;
    }
  };
  return constant(numbers.some(holds));
}

const YES: ReadonlySet<string> = new Set(['true', '1', 'yes']);

export function compareFlag(
  whenTrue: CelTree,
  { op, values, text: written }: ResolvedCheck,
  whenFalse: CelTree = not(whenTrue),
): CelTree {
  const wanted = values.map(({ text: value }) => YES.has(value.toLowerCase()));
  if (op === 'exists') return TRUE;
  if (op === '=' || op === '==' || op === 'in') return or(wanted.map((yes) => (yes ? whenTrue : whenFalse)));
  if (op === '!=') return and(wanted.map((yes) => (yes ? whenFalse : whenTrue)));
  return lost(written, `"${op}" does not apply to a flag`);
}
