import { afterEach, expect, it } from 'vitest';
import { SymbolThread } from './thread.js';

let thread: SymbolThread;
afterEach(() => thread.end());

const ask = (captured: Uint8Array, mountNs = 1) => ({ captured, mountNs, pid: 2 ** 30, others: [] });

/** Of a machine that is known, with registers of 0 and nothing else. */
const empty = (): Uint8Array => Uint8Array.from({ length: 280 }, (_, i) => (i === 1 ? 1 : 0));

it('unwinds stacks of several processes, each in its place', async () => {
  thread = new SymbolThread();
  const stacks = [ask(empty(), 1), ask(Uint8Array.of(0, 1, 2), 2), ask(empty(), 1), ask(new Uint8Array(0), 3)];
  const texts = await thread.describe(stacks);
  const cut = ['(cut: the stack could not be captured)'];
  expect([texts[1], texts[3]]).toEqual([cut, cut]);
  expect(texts[0]).toEqual(['(0x0)']);
  expect(texts[2]).toEqual(texts[0]);
});

it('leaves stacks as they are when more wait than it has memory for', async () => {
  thread = new SymbolThread();
  const many = Array.from({ length: 600 }, () => ask(new Uint8Array(60_000)));
  expect(await thread.describe(many)).toEqual(many.map(() => ['(cut: too many stacks at once)']));
  expect(await thread.describe([ask(empty())])).toEqual([['(0x0)']]);
});

it('says so of stacks that come when it has ended', async () => {
  thread = new SymbolThread();
  await thread.end();
  expect(await thread.describe([ask(empty())])).toEqual([['(cut: it could not be unwound)']]);
});
