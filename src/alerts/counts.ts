import { Budget } from '../base/budget.js';
import type { NewAlert, Severity } from './alert.js';

/** New alerts of one source: one that finds something new all the time is not to push out those of all others. */
const PER_SECOND = 100;
const AT_ONCE = 5000;
const MAX_SOURCES = 1000;

/** Counts of one source and severity since the server started. */
export interface AlertCount {
  readonly severity: Severity;
  readonly source: string;
  /** Number of alerts; alerts combined by their key count once. */
  alerts: number;
  /** How often they were raised, including repetitions. */
  raised: number;
  /** Of the alerts, those that a silence kept from being sent out. */
  silenced: number;
  /** Of those raised, how many made no alert, since the source raised too many. */
  suppressed: number;
}

/** What sources have raised since the server started, and how much more they may. */
export class Counts {
  readonly #counts = new Map<string, AlertCount>();
  readonly #budgets = new Map<string, Budget>();

  all(): readonly AlertCount[] {
    return [...this.#counts.values()];
  }

  of({ severity, source }: Pick<NewAlert, 'severity' | 'source'>): AlertCount {
    const key = `${severity} ${source}`;
    const known = this.#counts.get(key) ?? { severity, source, alerts: 0, raised: 0, silenced: 0, suppressed: 0 };
    this.#counts.set(key, known);
    return known;
  }

  /** Whether the source may make one more alert now; counts as one that it makes. */
  mayRaise(source: string): boolean {
    const budget = this.#budgets.get(source) ?? new Budget(PER_SECOND, AT_ONCE);
    // The last one to raise something is the last to be forgotten.
    this.#budgets.delete(source);
    const [oldest] = this.#budgets.keys();
    if (this.#budgets.size >= MAX_SOURCES && oldest !== undefined) this.#budgets.delete(oldest);
    this.#budgets.set(source, budget);
    return budget.take(1);
  }
}
