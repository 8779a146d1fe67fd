/** One entry of a JSON object, in the order of the selection. */
export type JsonEntry =
  | { readonly kind: 'constant'; readonly key: string; readonly json: string }
  | JsonLeaf
  | { readonly kind: 'process'; readonly key: string; readonly entries: readonly JsonEntry[] }
  | { readonly kind: 'container'; readonly key: string; readonly entries: readonly JsonEntry[] };

export interface JsonLeaf {
  readonly kind: 'leaf';
  readonly key: string;
  /** The property of the event, of its process or of its container. */
  readonly field: string;
  /** The name of its scalar; null for a list or an enum. */
  readonly scalar: string | null;
  readonly nullable: boolean;
  /** The value as JSON in ASCII. Throws when the schema does not allow it. */
  readonly json: (value: unknown) => string;
}

/** What is selected of the events of each tracker. */
export type JsonShape = ReadonlyMap<string, readonly JsonEntry[]>;

/** A value that the schema does not allow: an executor of GraphQL has to tell of it. */
export class Unwritable extends Error {}

/** An object whose properties are read as they are. */
export function objectJson(value: object, entries: readonly JsonEntry[]): string {
  const parts = entries.map((entry) => {
    if (entry.kind === 'constant') return `${JSON.stringify(entry.key)}:${entry.json}`;
    if (entry.kind === 'leaf') return `${JSON.stringify(entry.key)}:${entry.json(Reflect.get(value, entry.field))}`;
    throw new Unwritable(`${entry.key} is an object`);
  });
  return `{${parts.join(',')}}`;
}
