import { setFlagsFromString } from 'node:v8';

/**
 * To be called before events flow. Where little is allocated, V8 collects all garbage now and then to give memory back, and drops
 * compiled code with it. At a hundred events a second that costs more than the events: the collection, and running what was optimized as
 * bytecode from then on. Collections that memory needs go on; the flag is for all threads, and V8 asks for it each time.
 */
export function keepCode(): void {
  setFlagsFromString('--no-memory-reducer');
}
