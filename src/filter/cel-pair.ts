import { isOfElement, pair, type Filter, type OperandType } from './ast.js';
import { qualified, type Reference } from './cel-field.js';

/** Types of which two fields can be compared. */
const PAIRED: ReadonlySet<OperandType> = new Set<OperandType>([
  ...(['string', 'int', 'uint32', 'int64', 'uint64', 'boolean', 'time', 'address', 'errno', 'enum'] as const),
]);

/** Returns the comparison of two fields of one event, or why there is none. `variable`: what the element of a list is called. */
export function pairOf(left: Reference, right: Reference, symbol: string, variable: string): Filter | string {
  const [one, other] = [left, right].map(({ field: { path, filterType } }) => {
    const name = isOfElement(path) ? `${variable}${path}` : path;
    return `"${name}" (${filterType})`;
  });
  const { path, type, filterType } = left.field;
  if (symbol !== '==' && symbol !== '!=')
    return 'two fields are compared with == and != only; with others, one side must be a constant';
  const isSame = type === right.field.type && (type !== 'enum' || filterType === right.field.filterType);
  if (!isSame) return `${one} and ${other} are of different types; compare two fields of one type`;
  if (!PAIRED.has(type)) return `${one} is compared with no other field`;
  if (left.tracker !== null && right.tracker !== null && left.tracker !== right.tracker)
    return `no event has both ${one} of ${left.tracker} and ${other} of ${right.tracker}`;
  return qualified(left, qualified(right, pair(path, right.field.path, type, symbol === '==' ? 'eq' : 'ne')));
}
