import { expect, it, vi } from 'vitest';
import { Gate } from './gate.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));

it('lets so many through at a time, in the order of asking, and gives a place back once', async () => {
  const gate = new Gate(2);
  const leaves: (() => void)[] = [];
  for (let i = 0; i < 4; i++) void gate.enter().then((leave) => leaves.push(leave));
  await settled();
  expect(leaves).toHaveLength(2);
  leaves[1]?.();
  leaves[1]?.();
  await settled();
  expect(leaves).toHaveLength(3);
  leaves[0]?.();
  leaves[2]?.();
  await settled();
  expect(leaves).toHaveLength(4);
});

it('lets one signal wait for as many places as it likes, without a warning', async () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  const gate = new Gate(1);
  const { signal } = new AbortController();
  const all = Array.from({ length: 30 }, async () => (await gate.enter(signal))());
  await Promise.all(all);
  await settled();
  expect(warned).not.toHaveBeenCalled();
  warned.mockRestore();
});

it('forgets one whose signal aborts', async () => {
  const gate = new Gate(1);
  const leave = await gate.enter();
  const gone = new AbortController();
  const second = gate.enter(gone.signal);
  const third = gate.enter();
  gone.abort(new Error('gone'));
  await expect(second).rejects.toThrow('gone');
  leave();
  await third;
  await expect(gate.enter(gone.signal)).rejects.toThrow('gone');
});
