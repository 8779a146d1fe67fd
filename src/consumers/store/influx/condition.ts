import type { Filter } from '../../../filter/index.js';
import type { Column } from './column.js';

type Comparison = Extract<Filter, { kind: 'comparison' }>;

/** How a dialect says one comparison. Null: it cannot, or not without changing what it means. */
export interface Dialect {
  readonly and: string;
  readonly or: string;
  compare(column: Column, comparison: Comparison, negated: boolean): string | null;
}

export interface Condition {
  /** The text; a boolean when no point, or each, may match. */
  readonly text: string | boolean;
  /** What could not be said, by its path: the text then takes more than the filter does. */
  readonly unsaid: readonly string[];
}

/**
 * Translates a filter. Negations go down to the comparisons, since InfluxQL has none. What cannot be said is left out, so that more
 * matches, never less: events are judged again here, aggregates refuse.
 */
export function conditionOf(filter: Filter, columns: readonly Column[], dialect: Dialect): Condition {
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

/** What a text must match, as a regular expression that both dialects' engine (Go's RE2) takes; null for what is none. */
export function patternOf({ op, value }: Comparison, stored: (text: string) => string): string | null {
  const quoted = (text: string): string =>
    stored(text).replace(
      /[.*+?^${}()|[\]\\/-]/g,
      (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
    );
  const text = String(value);
  switch (op) {
    case 'prefix':
      return `^${quoted(text)}`;
    case 'suffix':
      return `${quoted(text)}$`;
    case 'contains':
      return quoted(text);
    case 'regex':
      // Stored are other characters for these: what the expression says of them it would not find.
      return /[\n\r\0]|\\[\\nrtfvx0sSc]/.test(text) ? null : text;
    case 'glob':
      return /[[{\\]/.test(text)
        ? null
        : `^(?s:${[...text].map((c) => (c === '*' ? '.*' : c === '?' ? '.' : quoted(c))).join('')})$`;
    default:
      return null;
  }
}
