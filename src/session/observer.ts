import type { RecordBatch } from '../record/batch.js';
import type { Session } from './session.js';

/** Sees what sessions deliver, in the same turn, without a queue: nothing passes it by. It must be cheap, and must not throw. */
export interface SessionObserver {
  onBatch(session: Session, batch: RecordBatch): void;
  /** The session has ended, and its counts are final. */
  onEnd(session: Session): void;
}
