import { afterEach, expect, it, vi } from 'vitest';
import { AskThread } from '../base/ask-thread.js';
import { EunomiaError } from '../base/errors.js';
import { SymbolThread } from './thread.js';

let thread: SymbolThread;
afterEach(async () => {
  vi.restoreAllMocks();
  await thread.end();
});

const ask = (captured: Uint8Array, mountNs = 1) => ({ captured, mountNs, pid: 2 ** 30, others: [], at: 0 });

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

it('lets no event wait for the files of one mount namespace after another', async () => {
  thread = new SymbolThread();
  let now = 1000;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  const asked = vi.spyOn(AskThread.prototype, 'ask').mockImplementation(async () => {
    now += 2500;
    throw new EunomiaError('LIMIT_EXCEEDED', 'it took too long');
  });
  const others = ['(cut: others took too long to read)'];
  const first = thread.describe([ask(empty(), 1), ask(empty(), 2), ask(empty(), 3)]);
  expect(await Promise.all([first, thread.describe([ask(empty(), 4)])])).toEqual([
    [['(cut: its files took too long to read)'], others, others],
    [others],
  ]);
  expect(asked).toHaveBeenCalledTimes(1);
  asked.mockImplementation(async () => [['(0x0)']]);
  expect(await thread.describe([ask(empty(), 4)])).toEqual([['(0x0)']]);
});
