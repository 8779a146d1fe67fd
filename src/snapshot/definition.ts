import type { TrackerDefinition } from '../tracker/define.js';

/**
 * What a kind of snapshot is: pure data, as a tracker's definition. Its records are described by the BTF of its object
 * (`bpf/snapshots/NAME.bpf.c`, `struct NAME_event`), its rows and its filter by schema/snapshot.graphql.
 */
export interface SnapshotDefinition extends Pick<TrackerDefinition, 'name' | 'minimumKernel' | 'fields'> {
  /** The type of a row in the schema; its filter is `TYPEFilter`. */
  readonly type: string;
  /** What messages call a row. */
  readonly noun: string;
}
