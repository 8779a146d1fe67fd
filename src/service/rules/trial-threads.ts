import type { Caller } from '../../access/caller.js';
import { AskThread } from '../../base/ask-thread.js';
import { EunomiaError } from '../../base/errors.js';
import type { RuleTrial, RuleTrialAsk, RuleTrialProtocol } from './trial-protocol.js';

const HEAP_MIB = 512;

/** Of the tests of one file. */
export interface RuleTrialLimits {
  /** What has not ended by then is run again, behind what takes long, and lets others go on. Most have ended. */
  readonly shortMs: number;
  /** Thousands of events take a second. */
  readonly mostMs: number;
}

const usual: RuleTrialLimits = { shortMs: 2000, mostMs: 10_000 };

/**
 * The server's end of the threads that run tests of rules: one for those that are soon done, and one for those that are not, so that a
 * short test waits for no long one. Clients take turns in each. They are not the one that parses rule files: a test that takes long
 * holds up no change of rules.
 */
export class RuleTrialThreads {
  readonly #short: AskThread<RuleTrialProtocol>;
  readonly #long: AskThread<RuleTrialProtocol>;
  readonly #limits: RuleTrialLimits;

  /** `file`: what the threads run, as `workerFile` has it. */
  constructor(file: string, limits = usual) {
    this.#limits = limits;
    const of = (name: string): AskThread<RuleTrialProtocol> =>
      new AskThread({ file, name, does: 'runs tests of rules', heapMiB: HEAP_MIB });
    this.#short = of('tests of rules');
    this.#long = of('long tests of rules');
  }

  /** Rejects with BAD_RULES, BAD_USER_INPUT, LIMIT_EXCEEDED, SHUTTING_DOWN, or the signal's reason. */
  async test(ask: RuleTrialAsk, caller: Pick<Caller, 'signal' | 'connection'>): Promise<RuleTrial> {
    const { shortMs, mostMs } = this.#limits;
    try {
      return await within(this.#short, shortMs, ask, caller);
    } catch (error) {
      if (!isOutOfTime(error)) throw error;
      return await within(this.#long, mostMs, ask, caller);
    }
  }

  /** Whether there is a thread. */
  get isStarted(): boolean {
    return this.#short.isStarted || this.#long.isStarted;
  }

  /** Ends them for good: asks under way are rejected. Idempotent. */
  async end(): Promise<void> {
    await Promise.all([this.#short.end(), this.#long.end()]);
  }
}

async function within(
  thread: AskThread<RuleTrialProtocol>,
  mostMs: number,
  ask: RuleTrialAsk,
  { signal, connection: of }: Pick<Caller, 'signal' | 'connection'>,
): Promise<RuleTrial> {
  // The time is that of the tests.
  await thread.ask('prepare', null, { signal, of });
  return thread.ask('test', ask, { signal, of, mostMs });
}

function isOutOfTime(error: unknown): boolean {
  return error instanceof EunomiaError && error.code === 'LIMIT_EXCEEDED' && error.details['limit'] === 'time';
}
