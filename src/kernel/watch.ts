import { nextPause, QUIET_LOOKS, SHORTEST_PAUSE_MS, UNWATCHED_PAUSE_MS, watermark } from './pause.js';

/** A ring as this sees it. */
export interface WatchedRing {
  readonly bytes: number;
  /** Bytes that wait to be read, of a record that is still being written too. */
  readonly waiting: number;
}

/** Node counts a timer's time in whole milliseconds: it may fire so much before its time. */
const EARLY_MS = 1;
/** How long after programs may wake the thread it looks once more: longer than a timer's error, and than a program takes. */
const DROWSY_MS = 3;
/** Also where nothing wakes the thread it looks so often. */
export const IDLE_MS = 1000;
/** What `setWakeAt` is given: each record wakes the thread, or none does. */
const EACH = 0;
const NONE = Number.POSITIVE_INFINITY;

/**
 * When a ring is to be looked at. While events flow it is looked at by itself (AWAKE), and its programs wake nobody, or only where it
 * fills. After a look that found nothing they may wake the thread again, and it looks once more (DROWSY), since a program that has seen
 * the word before may write its record after. Then it sleeps (ASLEEP) until one of them wakes it. Times are those of `performance.now()`,
 * in milliseconds.
 */
export class RingWatch {
  readonly #ring: WatchedRing;
  readonly #setWakeAt: (bytes: number) => void;
  #delayMs: number;
  #state: 'AWAKE' | 'DROWSY' | 'ASLEEP' = 'DROWSY';
  /** What was given to `setWakeAt` last. */
  #wakeAt = EACH;
  #due: number;
  #lookedAt: number;
  /** Looks in a row that found nothing. */
  #quiet = 0;

  /**
   * `setWakeAt`: programs wake the thread where so many bytes wait, once until it is called again; 0 is each record, infinity never.
   * `delayMs`: how long an event may wait.
   */
  constructor(ring: WatchedRing, setWakeAt: (bytes: number) => void, delayMs: number, now: number) {
    this.#ring = ring;
    this.#setWakeAt = setWakeAt;
    this.#delayMs = delayMs;
    this.#due = now;
    this.#lookedAt = now;
  }

  /** Whether each event is wanted at once. */
  get isUrgent(): boolean {
    return this.#delayMs === 0;
  }

  /** When it is to be looked at; infinity while only its programs tell. */
  get due(): number {
    return this.#state === 'ASLEEP' ? Number.POSITIVE_INFINITY : this.#due;
  }

  /**
   * Whether to look at it now: it is time, an event has ended its silence, or it fills. What is wanted at once is looked at whenever the
   * thread is up: a container's cgroup is to be known before the events of its processes. `untold`: a loss is to be told.
   */
  isCalled(now: number, untold: boolean): boolean {
    const { waiting, bytes } = this.#ring;
    if (this.#state !== 'ASLEEP' && now >= this.#due - EARLY_MS) return true;
    if (this.#state === 'AWAKE' && !this.isUrgent) return waiting >= watermark(bytes);
    return waiting > 0 || untold || (this.#state === 'ASLEEP' && now - this.#lookedAt >= IDLE_MS);
  }

  /** It was looked at: `waiting` bytes were in it, and records were taken out, or none. */
  looked(now: number, waiting: number, taken: boolean): void {
    const elapsedMs = now - this.#lookedAt;
    this.#lookedAt = now;
    if (taken) {
      this.#quiet = 0;
      this.#wait(now, nextPause({ elapsedMs, waiting, ringBytes: this.#ring.bytes, delayMs: this.#delayMs }));
    } else if (this.#state === 'AWAKE') {
      this.#quiet++;
      if (this.#quiet < (this.#delayMs < UNWATCHED_PAUSE_MS ? QUIET_LOOKS : 1)) this.#wait(now, SHORTEST_PAUSE_MS);
      else this.#doze(now);
    } else if (this.#ring.waiting > 0) {
      // A record that is still being written may have seen the word before: nothing wakes the thread for it, nor for those behind it.
      this.#due = now + SHORTEST_PAUSE_MS;
    } else {
      this.#state = 'ASLEEP';
    }
  }

  /** It was emptied out of its turn, perhaps of what programs have woken the thread for: it would not be looked at, and they wake once. */
  emptied(): void {
    if (this.#state === 'AWAKE') this.#arm(this.#wakeAt);
  }

  /** How long an event may wait from now on. One that waits longer than that is looked at then. */
  setDelay(ms: number, now: number): void {
    this.#delayMs = ms;
    if (this.#state === 'AWAKE') this.#due = Math.min(this.#due, now + ms);
  }

  /** Somebody has begun to read: what waits, or else the next event, is not held back for others. */
  hurry(now: number): void {
    if (this.#state === 'AWAKE') this.#due = now;
  }

  /** Nobody takes records for now: the ring is left to fill, and there is nothing to wake for. It is looked at as soon as somebody does. */
  neglect(now: number): void {
    this.#state = 'AWAKE';
    this.#due = now;
    this.#arm(NONE);
  }

  #wait(now: number, pauseMs: number): void {
    this.#state = 'AWAKE';
    this.#arm(pauseMs > UNWATCHED_PAUSE_MS ? watermark(this.#ring.bytes) : NONE);
    // Rings that may wait as long are looked at together.
    this.#due = pauseMs === this.#delayMs ? (Math.floor((now + EARLY_MS) / pauseMs) + 1) * pauseMs : now + pauseMs;
  }

  #doze(now: number): void {
    this.#state = 'DROWSY';
    this.#arm(EACH);
    this.#due = now + DROWSY_MS;
  }

  #arm(bytes: number): void {
    this.#wakeAt = bytes;
    this.#setWakeAt(bytes);
  }
}
