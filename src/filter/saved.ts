import type { FilterFields } from './field.js';

/** All of these filters, as the JSON of an `EventFilter`; undefined ones and `{}` do not restrict. */
export function allOf(filters: readonly unknown[]): object {
  const restricting = filters.filter(
    (filter): filter is object => typeof filter === 'object' && filter !== null && Object.keys(filter).length > 0,
  );
  return restricting.length > 1 ? { and: restricting } : (restricting[0] ?? {});
}

/** Names of the saved filters in a filter that was parsed. */
export function savedIn(filter: unknown): readonly string[] {
  if (typeof filter !== 'object' || filter === null) return [];
  return Object.entries(filter).flatMap(([name, value]) => {
    if (name === 'saved') return [String(value)];
    if (name === 'not') return savedIn(value);
    return (name === 'and' || name === 'or') && Array.isArray(value) ? value.flatMap(savedIn) : [];
  });
}

/** A filter that was parsed with the saved ones written out: what it means now, whatever they will be. */
export function writtenOut(filter: unknown, fields: Pick<FilterFields, 'saved'>, path = 'where'): unknown {
  if (savedIn(filter).length === 0) return filter;
  const { saved, ...rest } = filter as Readonly<Record<string, unknown>>;
  const own = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => {
      if (name === 'not') return [name, writtenOut(value, fields, path)];
      const isList = (name === 'and' || name === 'or') && Array.isArray(value);
      return [name, isList ? value.map((one) => writtenOut(one, fields, path)) : value];
    }),
  );
  return typeof saved === 'string' && fields.saved ? allOf([fields.saved(saved, path), own]) : own;
}
