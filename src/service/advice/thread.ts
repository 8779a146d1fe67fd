import { AskThread } from '../../base/ask-thread.js';
import type { AdviceProtocol } from './protocol.js';

/** What was seen at most, several times over. */
const HEAP_MIB = 1024;

/** The server's end of the thread that makes advice. */
export class AdviceThread extends AskThread<AdviceProtocol> {
  constructor(idleMs?: number) {
    super({ file: 'service/advice/worker', name: 'advice', does: 'makes advice', heapMiB: HEAP_MIB, idleMs });
  }
}
