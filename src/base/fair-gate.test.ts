import { expect, it } from 'vitest';
import { FairGate } from './fair-gate.js';

/** Those that have entered, in their order, and what gives their places back. */
function gate() {
  const fair = new FairGate();
  const entered: string[] = [];
  const leaves: (() => void)[] = [];
  const enter = async (name: string, of: object, signal?: AbortSignal): Promise<void> => {
    const leave = await fair.enter(of, signal);
    entered.push(name);
    leaves.push(leave);
  };
  const next = async (): Promise<void> => {
    leaves.shift()?.();
    await new Promise(setImmediate);
  };
  return { entered, enter, next };
}

it('whoever has many waits behind one of each of the others', async () => {
  const { entered, enter, next } = gate();
  const [a, b, c] = [{}, {}, {}];
  for (const name of ['a1', 'a2', 'a3']) void enter(name, a);
  void enter('b1', b);
  for (const name of ['c1', 'c2']) void enter(name, c);
  for (let i = 0; i < 6; i++) await next();
  expect(entered).toEqual(['a1', 'b1', 'a2', 'c1', 'a3', 'c2']);
});

it('the place is free again after the last one, and who has gone takes no turn', async () => {
  const { entered, enter, next } = gate();
  const [a, b] = [{}, {}];
  const gone = new AbortController();
  await enter('a1', a);
  const waiting = enter('b1', b, gone.signal);
  void enter('a2', a);
  gone.abort(new Error('the client has gone'));
  await expect(waiting).rejects.toThrow('the client has gone');
  await next();
  await next();
  await enter('b2', b);
  expect(entered).toEqual(['a1', 'a2', 'b2']);
  await expect(enter('b3', b, gone.signal)).rejects.toThrow('the client has gone');
});
