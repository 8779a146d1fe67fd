import { describe, expect, it } from 'vitest';
import { decode } from '../btf/decode.js';
import type { Chunk } from '../kernel/protocol.js';
import { headerOffsets } from '../record/batch.js';
import { createRuntime } from '../record/runtime.js';
import type { StackAsk } from '../symbols/protocol.js';
import exec from '../trackers/exec.js';
import open from '../trackers/open.js';
import { stackPlaces, Stacks } from './stacks.js';

const [runtime, other] = [createRuntime(open), createRuntime(exec)];
const FIELD = runtime.layout.fields.get('stack')?.offset ?? Number.NaN;
const MASK = runtime.captureOf('stack');
const CAPTURED = 400;

/** Records of `open` with a captured stack each, or without. */
function chunkOf(...captured: readonly boolean[]): Chunk {
  const length = runtime.layout.size + CAPTURED;
  const data = new Uint8Array(length * captured.length);
  const view = new DataView(data.buffer);
  captured.forEach((has, i) => {
    view.setUint32(i * length + headerOffsets.pid, 100 + i, true);
    view.setUint32(i * length + headerOffsets.mountNs, 7, true);
    data.fill(0xee, i * length + runtime.layout.size + 1, (i + 1) * length);
    if (has) view.setUint32(i * length + FIELD, (CAPTURED << 16) | runtime.layout.size, true);
  });
  const offsets = Uint32Array.from(captured, (_, i) => i * length);
  return { data, offsets, lost: 0, clock: { seconds: 0, nanoseconds: 0 }, readAt: 0, readBefore: 0 };
}

function stacksOf(texts: readonly string[]): { stacks: Stacks; asked: StackAsk[] } {
  const asked: StackAsk[] = [];
  const describe = async (some: readonly StackAsk[]): Promise<readonly (readonly string[])[]> => {
    asked.push(...some);
    return some.map(() => texts);
  };
  return { asked, stacks: new Stacks({ describe, end: async () => undefined }) };
}

const viewOf = ({ data }: Chunk): DataView => new DataView(data.buffer);
const read = (chunk: Chunk): unknown[] =>
  [...chunk.offsets].map((at) => decode.stack(chunk.data, at, viewOf(chunk).getUint32(at + FIELD, true)));

describe('captured stacks', () => {
  const places = stackPlaces([runtime, other], [MASK, 0n]);

  it('are null until they are unwound, and then frames', async () => {
    const { stacks, asked } = stacksOf(['main+0x1 (/bin/a+0x2)', '(/bin/\\xffb+0x1)']);
    const chunk = chunkOf(true, false, true);
    const copy = await stacks.read(chunk, viewOf(chunk), places);
    const frames = ['main+0x1 (/bin/a+0x2)', '(/bin/\\xffb+0x1)'];
    expect(copy && read(copy)).toEqual([frames, null, frames]);
    expect(
      [...(copy?.offsets ?? [])].map((at) => copy && viewOf(copy).getUint32(at + headerOffsets.pid, true)),
    ).toEqual([100, 101, 102]);
    // Those who did not ask have it as it was; and it weighs less now.
    expect(read(chunk)).toEqual([null, null, null]);
    expect(copy?.data.length).toBeLessThan(chunk.data.length);
    expect(asked.map(({ pid, mountNs }) => [pid, mountNs])).toEqual([
      [100, 7],
      [102, 7],
    ]);
    expect(asked[0]?.captured).toHaveLength(CAPTURED);
  });

  it('are unwound once for all sessions that share them', async () => {
    const { stacks, asked } = stacksOf(['a']);
    const chunk = chunkOf(true);
    const copies = await Promise.all([1, 2, 3].map(() => stacks.read(chunk, viewOf(chunk), places)));
    expect(asked).toHaveLength(1);
    expect(new Set(copies).size).toBe(1);
    const [copy] = copies;
    expect(copy && stacks.read(copy, viewOf(copy), places)).toBeNull();
  });

  it('are not looked for where a session captures none', () => {
    const { stacks } = stacksOf([]);
    const chunk = chunkOf(true);
    expect(stackPlaces([runtime, other], [0n, 0n])).toEqual([null, null]);
    expect(stacks.read(chunk, viewOf(chunk), [null, null])).toBeNull();
    expect(stacks.read(chunkOf(false), viewOf(chunkOf(false)), places)).toBeNull();
  });

  it('lose frames where there is no room for them, and say so', async () => {
    const frame = 'a'.repeat(4000);
    const cut = '(cut: there is no room for more)';
    for (const [texts, expected] of [
      [Array<string>(10).fill(frame), [frame, frame, frame, frame, cut]],
      [['b'.repeat(20_000)], [cut]],
      [[], [cut]],
      [
        [...Array<string>(4).fill(frame), 'x'],
        [frame, frame, frame, frame, 'x'],
      ],
    ] as const) {
      const chunk = chunkOf(true);
      const copy = await stacksOf(texts).stacks.read(chunk, viewOf(chunk), places);
      expect(copy && read(copy)).toEqual([expected]);
    }
  });
});
