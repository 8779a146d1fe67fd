import { nowText } from '../../event/clock.js';
import type { SessionBuffer } from '../buffer.js';
import type { RecorderInput } from '../recorder.js';
import type { Readers } from './readers.js';

/** A reader of all events of a session from now on that is no subscriber, with a queue of its own: for a store, or an export. */
export function recorderInput(readers: Readers, buffer: SessionBuffer, queueBytes: number): RecorderInput {
  const stream = readers.record({
    id: 'store',
    since: nowText(),
    queueBytes,
    deliveryEvents: Number.POSITIVE_INFINITY,
    backlog: [],
    missing: null,
    startSeq: 0,
    where: null,
    cursorAt: (seq) => buffer.cursorAt(seq),
  });
  return {
    next: () => stream.next(),
    return: () => stream.return(),
    offer: (isOffered) => readers.offer(stream, isOffered),
    get stats() {
      return stream.stats;
    },
  };
}
