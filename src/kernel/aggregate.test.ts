import { describe, expect, it } from 'vitest';
import { mergeRecords, type MapRecordShape } from './aggregate.js';

const shape: MapRecordShape = {
  bootNsAt: 0,
  totals: [8],
  latest: [],
  others: [{ offset: 16, size: 8 }],
  pathStateAt: 16,
};

/** When it was made, whose it is, a total, and the path, with its state before it. */
function record(bootNs: bigint, total: bigint, path: string): DataView {
  const view = new DataView(new ArrayBuffer(40), 8, 24);
  view.setBigUint64(0, bootNs, true);
  view.setBigUint64(8, total, true);
  if (path) view.setUint8(16, 1);
  new TextEncoder().encodeInto(path, new Uint8Array(view.buffer, view.byteOffset + 17, 7));
  return view;
}

const read = (view: DataView) => [
  view.getBigUint64(0, true),
  view.getBigUint64(8, true),
  view.getUint8(16),
  new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + 17, 7)).replace(/\0+$/, ''),
];

describe('records of one key from two CPUs', () => {
  it('are that which was made first, with both totals, in whichever order they are read', () => {
    const early = () => record(5n, 2n ** 32n - 1n, 'a');
    const late = () => record(2n ** 32n + 1n, 2n, 'b');
    const merged = [5n, 2n ** 32n + 1n, 1, 'a'];
    expect(read(mergeRecords(early(), late(), shape))).toEqual(merged);
    expect(read(mergeRecords(late(), early(), shape))).toEqual(merged);
  });

  it('take a path that only the later one knows', () => {
    for (const [one, other] of [
      [record(5n, 1n, ''), record(9n, 1n, 'b')],
      [record(9n, 1n, 'b'), record(5n, 1n, '')],
    ] as const)
      expect(read(mergeRecords(one, other, shape))).toEqual([5n, 2n, 1, 'b']);
  });

  it('have the latest time of both, in whichever order they are read', () => {
    const timed = { ...shape, totals: [], latest: [8] };
    for (const [one, other] of [
      [record(5n, 7n, 'a'), record(9n, 2n ** 40n, 'b')],
      [record(5n, 2n ** 40n, 'a'), record(9n, 9n, 'b')],
    ] as const) {
      const copies = [one, other].map((view) => new DataView(view.buffer.slice(0), 8, 24)) as [DataView, DataView];
      expect(read(mergeRecords(one, other, timed))).toEqual([5n, 2n ** 40n, 1, 'a']);
      expect(read(mergeRecords(copies[1], copies[0], timed))).toEqual([5n, 2n ** 40n, 1, 'a']);
    }
  });

  it('of a tracker without paths are the first one', () => {
    expect(read(mergeRecords(record(9n, 1n, 'b'), record(5n, 1n, ''), { ...shape, pathStateAt: null }))).toEqual([
      5n,
      2n,
      0,
      '',
    ]);
  });
});
