import type { FieldValue } from './event.js';

/** A value as it would stand in JSON, without quotes; a list as JSON. */
export function textOf(value: FieldValue): string | null {
  if (value === null) return null;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
