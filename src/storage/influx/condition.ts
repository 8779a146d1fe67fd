import type { Filter } from '../../filter/index.js';
import type { PointColumn } from './column.js';
import { ANY, matchingPattern, ONE, type Pattern } from './quote.js';

type Comparison = Extract<Filter, { kind: 'comparison' }>;

/** How a dialect says one comparison. Null: it cannot, or not without changing what it means. */
export interface Dialect {
  readonly and: string;
  readonly or: string;
  compare(column: PointColumn, comparison: Comparison, negated: boolean): string | null;
}

export interface PointCondition {
  /** The text; a boolean when no point, or each, may match. */
  readonly text: string | boolean;
  /** What could not be said, by its path: the text then takes more than the filter does. */
  readonly unsaid: readonly string[];
}

/**
 * Translates a filter. Negations go down to the comparisons, since InfluxQL has none. What cannot be said is left out, so that more
 * matches, never less: the filter is evaluated again here for events, aggregates refuse.
 */
export function conditionOf(filter: Filter, columns: readonly PointColumn[], dialect: Dialect): PointCondition {
  const unsaid = new Set<string>();
  const byPath = new Map(columns.map((column) => [column.path, column]));

  const say = (node: Filter, negated: boolean): string | boolean => {
    switch (node.kind) {
      case 'always':
        return node.value !== negated;
      case 'not':
        return say(node.filter, !negated);
      case 'and':
      case 'or':
        return join(
          node.filters.map((inner) => say(inner, negated)),
          (node.kind === 'and') !== negated,
          dialect,
        );
      case 'any':
        unsaid.add(node.path);
        return true;
      case 'pair':
        unsaid.add(node.left);
        return true;
      case 'comparison': {
        const column = byPath.get(node.path);
        const text = column ? dialect.compare(column, node, negated) : null;
        if (text === null) unsaid.add(node.path);
        return text ?? true;
      }
    }
  };

  return { text: say(filter, false), unsaid: [...unsaid] };
}

function join(parts: readonly (string | boolean)[], isAnd: boolean, { and, or }: Dialect): string | boolean {
  if (parts.some((part) => part === !isAnd)) return !isAnd;
  const texts = parts.filter((part) => typeof part === 'string');
  if (texts.length === 0) return isAnd;
  return texts.length === 1 ? (texts[0] ?? isAnd) : `(${texts.join(` ${isAnd ? and : or} `)})`;
}

/**
 * What a stored text must match, as a regular expression that both dialects' engine (Go's RE2) takes. It is written
 * here from the comparison's meaning: null for a client's regular expression, which is never sent, and for a glob that
 * is more than `*` and `?`.
 */
export function patternOf({ op, value }: Comparison, stored: (text: string) => string): Pattern | null {
  const text = String(value);
  switch (op) {
    case 'prefix':
      return matchingPattern({ fromStart: true, toEnd: false, parts: [stored(text)] });
    case 'suffix':
      // What a stand-in ends, or is within, may be another character's.
      if (stored(text) !== text) return null;
      return matchingPattern({ fromStart: false, toEnd: true, parts: [stored(text)] });
    case 'contains':
      if (stored(text) !== text) return null;
      return matchingPattern({ fromStart: false, toEnd: false, parts: [stored(text)] });
    case 'glob':
      if (/[[{\\]/.test(text)) return null;
      return matchingPattern({
        fromStart: true,
        toEnd: true,
        parts: [...text].map((c) => (c === '*' ? ANY : c === '?' ? ONE : stored(c))),
      });
    default:
      return null;
  }
}
