import { AskThread } from '../base/ask-thread.js';
import { EunomiaError } from '../base/errors.js';
import type { StackAsk, SymbolProtocol } from './protocol.js';

/** The cache of modules lies outside of the heap, for the most part. */
const HEAP_MIB = 256;
/** Of one mount namespace's files; more take only those that hang, or that were made to. */
const MOST_MS = 2000;
/** Stacks that have waited for so long behind others' are not unwound: the events that they are of wait as well. */
const PATIENCE_MS = 2000;
/** What took too long is not tried again for so long. */
const SPARED_MS = 60_000;
const MAX_SPARED = 1000;
/** Captured stacks that wait for the thread; what comes beyond them is not unwound. */
const MAX_WAITING_BYTES = 32 << 20;

/** The server's end of the thread that unwinds stacks. */
export class SymbolThread {
  readonly #thread: AskThread<SymbolProtocol>;
  /** Mount namespaces whose files took too long, and until when they are left alone. */
  readonly #spared = new Map<number, number>();
  #waiting = 0;
  /** What was asked last; one is answered after another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(idleMs?: number) {
    this.#thread = new AskThread({
      file: 'symbols/worker',
      name: 'symbols',
      does: 'unwinds stacks',
      heapMiB: HEAP_MIB,
      idleMs,
    });
  }

  /** The frames of each stack as texts; of those that nobody could unwind, one that says why. Never rejects. */
  async describe(stacks: readonly StackAsk[]): Promise<readonly (readonly string[])[]> {
    const bytes = stacks.reduce((sum, { captured }) => sum + captured.length, 0);
    if (this.#waiting + bytes > MAX_WAITING_BYTES) return stacks.map(() => ['(cut: too many stacks at once)']);
    this.#waiting += bytes;
    const until = performance.now() + PATIENCE_MS;
    const work = this.#last.then(() => this.#describe(stacks, until)).finally(() => (this.#waiting -= bytes));
    this.#last = work;
    return work;
  }

  end(): Promise<void> {
    return this.#thread.end();
  }

  async #describe(stacks: readonly StackAsk[], until: number): Promise<readonly (readonly string[])[]> {
    const described = new Map<StackAsk, readonly string[]>();
    for (const mountNs of new Set(stacks.map((stack) => stack.mountNs))) {
      if (performance.now() > until) break;
      const some = stacks.filter((stack) => stack.mountNs === mountNs);
      const texts = await this.#ask(mountNs, some);
      some.forEach((stack, i) => described.set(stack, texts[i] ?? []));
    }
    return stacks.map((stack) => described.get(stack) ?? ['(cut: others took too long to read)']);
  }

  async #ask(mountNs: number, stacks: readonly StackAsk[]): Promise<readonly (readonly string[])[]> {
    const why = (text: string): readonly (readonly string[])[] => stacks.map(() => [`(cut: ${text})`]);
    if ((this.#spared.get(mountNs) ?? 0) > performance.now()) return why('its files took too long to read');
    try {
      return await this.#thread.ask('describe', stacks, { mostMs: MOST_MS });
    } catch (error) {
      if (!(error instanceof EunomiaError) || error.code !== 'LIMIT_EXCEEDED') return why('it could not be unwound');
      if (this.#spared.size >= MAX_SPARED) this.#spared.clear();
      this.#spared.set(mountNs, performance.now() + SPARED_MS);
      return why('its files took too long to read');
    }
  }
}
