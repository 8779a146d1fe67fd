// What a user of any client writes: the schema by introspection, and what caches want to know of it.
import { getIntrospectionQuery } from 'graphql';

export async function introspected(url) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true }) }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

/** Of each interface and union, the types that it may be. */
export function possibleTypes({ __schema: { types } }) {
  return Object.fromEntries(
    types
      .filter(({ possibleTypes: some }) => some)
      .map(({ name, possibleTypes: some }) => [name, some.map((one) => one.name)]),
  );
}

/** Object types without an id: a cache holds them where they stand. */
export function embedded({ __schema: { types } }) {
  return types
    .filter(
      ({ kind, name, fields }) =>
        kind === 'OBJECT' && !name.startsWith('__') && !fields.some((field) => field.name === 'id'),
    )
    .map(({ name }) => name);
}

/** What a client warns of is a fault: of ours, or of how it is used here. */
export function watchConsole() {
  const complaints = [];
  for (const level of ['warn', 'error']) console[level] = (...args) => complaints.push(args.map(String).join(' '));
  return complaints;
}
