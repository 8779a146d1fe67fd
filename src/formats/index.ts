export { createEncoder } from './create.js';
export {
  formats,
  type Encoder,
  type ExportEnd,
  type ExportFormat,
  type ExportFacts,
  type SheetFormat,
} from './encoder.js';
export { aggregateSheet } from './group.js';
export { packetFields, packetTracker, pcapng } from './pcapng.js';
export { Recording, RECORDING, type Entry, type RecordedSession } from './recording.js';
export { EventRecorder, type RecordedEvent } from './recorder.js';
export { eventSheet, rootsOf, sessionsSheet, type SheetColumn, type SessionEvent, type Sheet } from './sheet.js';
export { Reviver } from './revive.js';
