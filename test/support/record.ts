import { readFileSync } from 'node:fs';
import { parseBpfFile, type BpfFile } from '../../src/btf/btf.js';
import { compileLayout, type RecordLayout } from '../../src/btf/layout.js';
import { snakeCase } from '../../src/base/names.js';
import { objectPath as pathOf } from '../../src/base/paths.js';
import { RecordBatch, type BatchContext } from '../../src/record/batch.js';
import { compileView } from '../../src/record/view.js';
import exit from '../../src/trackers/exit.js';
import type { TrackerDefinition } from '../../src/tracker/define.js';

/** Records as a kernel would write them, by the layout of the real objects: for tests without one. */

/** Of a tracker, "session", "cgroup", or a snapshot: "snapshots/socket". */
export function objectPath(name: string): string {
  return pathOf(/^(session|cgroup|lineage|snapshots\/.*)$/.test(name) ? name : `trackers/${snakeCase(name)}`);
}

export function objectFile(name: string): BpfFile {
  return parseBpfFile(readFileSync(objectPath(name)), objectPath(name));
}

export function layoutOf(name: string, stem = snakeCase(name)): RecordLayout {
  return compileLayout(objectFile(name), stem);
}

export type Values = Readonly<Record<string, number | bigint | Uint8Array>>;

/** The bytes of a record; `tail` follows the struct. Fields not given are 0. */
export function recordOf(layout: RecordLayout, values: Values, tail: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(layout.size + tail.length);
  const view = new DataView(bytes.buffer);
  bytes.set(tail, layout.size);
  for (const [name, value] of Object.entries(values)) {
    const field = layout.header.get(name) ?? layout.fields.get(name);
    if (!field) throw new Error(`the record has no field ${name}`);
    if (value instanceof Uint8Array) bytes.set(value, field.offset);
    else if (field.size === 8) view.setBigUint64(field.offset, BigInt.asUintN(64, BigInt(value)), true);
    else if (field.size === 4) view.setUint32(field.offset, Number(value), true);
    else if (field.size === 2) view.setUint16(field.offset, Number(value), true);
    else view.setUint8(field.offset, Number(value));
  }
  return bytes;
}

/** Records as `Ring.take` hands them out: each behind 8 bytes of the ring's own, at a multiple of 8. */
export function packed(records: readonly Uint8Array[]): { data: ArrayBuffer; offsets: Uint32Array } {
  const room = (record: Uint8Array) => (record.length + 8 + 7) & ~7;
  const bytes = new Uint8Array(records.reduce((sum, record) => sum + room(record), 0));
  const offsets = new Uint32Array(records.length);
  let at = 0;
  records.forEach((record, i) => {
    offsets[i] = at + 8;
    bytes.set(record, at + 8);
    at += room(record);
  });
  return { data: bytes.buffer, offsets };
}

const noClock = { seconds: 0, nanoseconds: 0 };

/** One event of one record. */
export function eventOf(
  definition: TrackerDefinition,
  values: Values,
  tail?: Uint8Array,
  clock = noClock,
  containerAt: BatchContext['containerAt'] = () => null,
) {
  const layout = layoutOf(definition.name);
  const { data, offsets } = packed([recordOf(layout, values, tail)]);
  const context = { views: [compileView(definition, layout)], containerAt };
  return new RecordBatch(data, offsets, context, { clock, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 }).event(0);
}

const exitLayout = layoutOf('exit');
const exitContext: BatchContext = { views: [compileView(exit, exitLayout)], containerAt: () => null };

/** A batch of `count` events of the tracker exit. An event's place in the session is its bootNs. */
export function batchAt(seq: number, count: number, lost = 0): RecordBatch {
  const { data, offsets } = packed(
    Array.from({ length: count }, (_, i) => recordOf(exitLayout, { bootNs: seq + i, pid: seq + i })),
  );
  return new RecordBatch(data, offsets, exitContext, {
    clock: noClock,
    seq,
    lost,
    lostFrom: Math.max(0, seq - 1),
    lostTo: seq + count,
  });
}
