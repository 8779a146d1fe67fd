import { isActive, silencerOf, type Silence, type Silencer, type Subject } from './silence.js';

/** Silences that are in force at most, and those that are remembered. */
export const MAX_SILENCES = 500;
const PAST_SILENCES = 1000;

/** Silences, in force and over. */
export class SilenceBook {
  readonly #silences = new Map<string, Silence>();
  #silencers: readonly Silencer[] = [];

  /** Those that are in force come first, then those that are over, the newest first of each. */
  list(): readonly Silence[] {
    const now = Date.now();
    const all = [...this.#silences.values()].reverse();
    return [...all.filter((one) => isActive(one, now)), ...all.filter((one) => !isActive(one, now))];
  }

  /** As they were made. */
  all(): readonly Silence[] {
    return [...this.#silences.values()];
  }

  get(id: string): Silence | null {
    return this.#silences.get(id) ?? null;
  }

  /** A new one, or one that is another now. Throws BAD_SELECTOR, with nothing changed, for a glob that is none. */
  set(silence: Silence): void {
    const now = Date.now();
    const others = this.#silencers.filter(({ silence: { id }, untilMs }) => id !== silence.id && untilMs > now);
    this.#silencers = isActive(silence, now) ? [...others, silencerOf(silence)] : others;
    this.#silences.set(silence.id, silence);
    if (this.#silences.size <= PAST_SILENCES) return;
    for (const one of this.#silences.values()) {
      if (isActive(one, now)) continue;
      this.#silences.delete(one.id);
      if (this.#silences.size <= PAST_SILENCES) return;
    }
  }

  /** The silence that keeps such an alert from being sent out. */
  matching(alert: Subject, now: number): Silence | null {
    return this.#silencers.find(({ untilMs, matches }) => untilMs > now && matches(alert))?.silence ?? null;
  }
}
