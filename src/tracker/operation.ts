import type { PushedField } from './define.js';

// Of a tracker whose object has `enum NAME_operation`, which counts from 1: its values by name, in their order.

/** The constant `operations` of the object: a bit a value, by the option of that name. 0 is all: the option was not given. */
export function operationMask(names: readonly string[], option: unknown): number {
  const chosen = (option ?? []) as readonly string[];
  return chosen.reduce((mask, name) => mask | (1 << (names.indexOf(name) + 1)), 0);
}

/** The field `operation` of a filter, for objects that declare EU_WHERE_NUMBER(operation). */
export function pushedOperation(names: readonly string[]): PushedField {
  return pushedEnum('operation', names);
}

/** A field of a filter whose enum counts from 1, for objects that declare EU_WHERE_NUMBER(stem). */
export function pushedEnum(stem: string, names: readonly string[]): PushedField {
  return { kind: 'code', stem, max: names.length, read: (code) => names[code - 1] ?? null };
}
