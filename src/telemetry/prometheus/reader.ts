import { kinds, type Kind } from '../../btf/kind.js';
import type { RecordField, RecordLayout } from '../../btf/layout.js';

/** Upper bounds of the buckets of durations, in nanoseconds: 1 µs and its multiples by 4, up to 67 s. */
export const DURATION_BOUNDS_NS: readonly number[] = Array.from({ length: 14 }, (_, i) => 1000 * 4 ** i);

/** A field of a record that is counted beside the events themselves. */
export interface CountedField {
  /** As in the schema. */
  readonly name: string;
  readonly offset: number;
}

/** What is counted of a tracker's records: it follows from the names and types of its struct, so that a new tracker needs no line here. */
export interface CountedFields {
  /** Those of type eu_errno: events by error. */
  readonly errors: readonly CountedField[];
  /** Those named `…_bytes`, whole numbers of 64 bits: sums. */
  readonly bytes: readonly CountedField[];
  /** Those of type eu_total: what a tracker that aggregates in the kernel has counted. */
  readonly sums: readonly CountedField[];
  /** Those of type eu_duration_ns: histograms. */
  readonly durations: readonly CountedField[];
  /** Enumerations that every event has: events by value. */
  readonly kinds: readonly (CountedField & Pick<RecordField, 'size' | 'values'>)[];
}

/** A tracker as far as its records are counted. */
export interface CountedTracker {
  readonly layout: Pick<RecordLayout, 'fields' | 'captures'>;
}

export function countedFields({ layout }: CountedTracker): CountedFields {
  const fields = [...layout.fields.values()];
  const counted = (metric: Kind['metric']): RecordField[] => fields.filter(({ kind }) => kinds[kind].metric === metric);
  return {
    errors: counted('errors'),
    bytes: counted('bytes').filter(({ name }) => name.endsWith('Bytes')),
    sums: counted('sums'),
    durations: counted('durations'),
    kinds: counted('values').filter(({ name }) => !layout.captures.has(name)),
  };
}
