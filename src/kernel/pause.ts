/** While events flow the rings are read this often: a single event waits no longer. */
export const SHORTEST_PAUSE_MS = 1;
/**
 * After so many looks that found nothing the thread sleeps until a program wakes it. A look is cheaper than that for
 * both sides: the program that wakes it interrupts its own CPU, for longer than all the rest of a hook takes.
 */
export const QUIET_LOOKS = 5;
/** And no longer than this, however much flows. */
const LONGEST_PAUSE_MS = 5;
/**
 * So much of one ring is worth a chunk's cost (the wake-up, the message, what each reader does once a batch): the pause
 * grows while less comes at once.
 */
const WORTH_BYTES = 256 << 10;
/** Below this rate (bytes a millisecond) nobody notices the cost of many small chunks, but everybody a longer delay. */
const FLOW_BYTES = 1 << 10;
/** A ring may fill to this share during a pause, so that a burst still has room. */
const FILLED_SHARE = 1 / 32;

/**
 * How long to leave a ring alone, in milliseconds, when `waiting` bytes had come during the last pause. The rule: a
 * quiet ring is read every millisecond; one with a flow, as often as makes chunks of 256 KiB, at least every 5 ms, and
 * before 1/32 of it is filled.
 */
export function nextPause(pause: number, waiting: number, ringBytes: number): number {
  const flow = waiting / pause;
  if (flow < FLOW_BYTES) return SHORTEST_PAUSE_MS;
  const wanted = Math.min(WORTH_BYTES, ringBytes * FILLED_SHARE) / flow;
  // At most doubled at a time: a timer may fire late, and a first burst is no flow.
  return Math.max(SHORTEST_PAUSE_MS, Math.min(LONGEST_PAUSE_MS, 2 * pause, Math.floor(wanted)));
}
