/** While events flow for somebody who wants each at once, the rings are read this often: a single event waits no longer. */
export const SHORTEST_PAUSE_MS = 1;
/**
 * After so many looks that found nothing, a millisecond apart, the thread sleeps until a program wakes it. A look is cheaper than that
 * for both sides: the program that wakes it interrupts its own CPU, for longer than all the rest of a hook takes.
 */
export const QUIET_LOOKS = 5;
/** The longest pause in which a program need not watch how full the ring gets: nothing fills a ring so fast. */
export const UNWATCHED_PAUSE_MS = 5;
/**
 * So much of one ring is worth a chunk's cost (the wake-up, the message, what each reader does once a batch): the pause
 * grows while less comes at once.
 */
const WORTH_BYTES = 256 << 10;
/** Below this rate (bytes a millisecond) nobody notices the cost of many small chunks, but everybody a longer delay. */
const FLOW_BYTES = 1 << 10;
/** A ring may fill to this share during a pause, so that a burst still has room. */
const FILLED_SHARE = 1 / 32;

export interface Look {
  /** How long the ring was left alone, in milliseconds, and how many bytes had come meanwhile. */
  readonly elapsedMs: number;
  readonly waiting: number;
  readonly ringBytes: number;
  /** How long an event may wait for others, by the reader that is the least patient. */
  readonly delayMs: number;
}

/**
 * How long to leave a ring alone, in milliseconds. The rule: as long as an event may wait; where events flow, as often as makes
 * chunks of 256 KiB, and before 1/32 of the ring is filled. For somebody who wants each event at once, a quiet ring is read every
 * millisecond, and one with a flow every 5 ms at least.
 */
export function nextPause({ elapsedMs, waiting, ringBytes, delayMs }: Look): number {
  const elapsed = Math.max(elapsedMs, SHORTEST_PAUSE_MS);
  const flow = waiting / elapsed;
  const patient = Math.max(SHORTEST_PAUSE_MS, delayMs);
  if (flow < FLOW_BYTES) return patient;
  const wanted = Math.min(WORTH_BYTES, watermark(ringBytes)) / flow;
  // At most doubled at a time: a timer may fire late, and a first burst is no flow.
  return Math.max(SHORTEST_PAUSE_MS, Math.min(Math.max(UNWATCHED_PAUSE_MS, delayMs), 2 * elapsed, Math.floor(wanted)));
}

/** Where a ring has so many bytes in a longer pause, its programs wake the thread. */
export function watermark(ringBytes: number): number {
  return ringBytes * FILLED_SHARE;
}
