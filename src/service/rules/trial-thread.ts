import { AskThread } from '../../base/ask-thread.js';
import type { RuleTrial, RuleTrialAsk, RuleTrialProtocol } from './trial-protocol.js';

const HEAP_MIB = 512;
/** Of the tests of one file: thousands of events take a second. */
const MOST_MS = 10_000;

/**
 * The server's end of the thread that runs tests of rules. It is not the one that parses rule files: a test that takes long holds up no
 * change of rules.
 */
export class RuleTrialThread {
  readonly #thread: AskThread<RuleTrialProtocol>;
  readonly #mostMs: number;

  /** `file`: what the thread runs, as `workerFile` has it. */
  constructor(file: string, mostMs = MOST_MS) {
    this.#mostMs = mostMs;
    this.#thread = new AskThread<RuleTrialProtocol>({
      file,
      name: 'tests of rules',
      does: 'runs tests of rules',
      heapMiB: HEAP_MIB,
    });
  }

  /** Rejects with BAD_RULES, BAD_USER_INPUT, LIMIT_EXCEEDED, SHUTTING_DOWN, or the signal's reason. */
  test(ask: RuleTrialAsk, signal: AbortSignal): Promise<RuleTrial> {
    return this.#thread.ask('test', ask, { signal, mostMs: this.#mostMs });
  }

  /** Idempotent. */
  end(): Promise<void> {
    return this.#thread.end();
  }
}
