import type { TraceEvent } from '../event/event.js';
import { headerOffsets, initAt, cgroupIdAt, type RecordBatch } from '../record/batch.js';
import type { Image, Told } from './process.js';

/** What a record's header says of its process. */
export function toldAt(batch: RecordBatch, index: number, event: TraceEvent, parentStartNs: number | null): Told {
  const at = batch.offsets[index] ?? 0;
  const { view } = batch;
  const init = initAt(view, at);
  const { process } = event;
  return {
    pid: process.pid,
    startNs: startNsAt(view, at),
    ppid: process.ppid,
    parentStartNs,
    atNs: batch.bootNsAt(index),
    comm: process.comm,
    uid: process.uid,
    gid: process.gid,
    cgroupId: cgroupIdAt(view, at),
    mountNs: view.getUint32(at + headerOffsets.mountNs, true),
    initPid: Math.floor(init / 65536),
    initStart: init % 65536,
  };
}

/** When the process of a record started, in ns since boot. */
export function startNsAt(view: DataView, at: number): number {
  const from = at + headerOffsets.startBootNs;
  return view.getUint32(from + 4, true) * 4294967296 + view.getUint32(from, true);
}

/** The program of a record that has one: of an exec, or of an iterator, which knows no arguments. */
export function imageOf(event: object): Image | null {
  const value = <Value>(name: string): Value | null => (Reflect.get(event, name) as Value | undefined) ?? null;
  const executable = value<string>('executable');
  const args = value<readonly string[]>('args');
  const cwd = value<string>('cwd');
  if (executable === null && args === null) return null;
  return {
    executable,
    executableState: executable === null ? null : value('executableState'),
    executableDeleted: executable === null ? null : value('executableDeleted'),
    args,
    argsTruncated: args === null ? null : value('argsTruncated'),
    cwd,
    cwdState: cwd === null ? null : value('cwdState'),
    cwdDeleted: cwd === null ? null : value('cwdDeleted'),
  };
}
