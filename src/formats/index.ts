export { createEncoder } from './create.js';
export { formats, type Encoder, type Ending, type ExportFormat, type Facts, type SheetFormat } from './encoder.js';
export { aggregateSheet } from './group.js';
export { packetFields, packetTracker, pcapng } from './pcapng.js';
export { Recording, RECORDING, type Entry, type RecordedSession } from './recording.js';
export { Recorder, type Recorded } from './recorder.js';
export { eventSheet, rootsOf, sessionsSheet, type Column, type SessionEvent, type Sheet } from './sheet.js';
export { Reviver } from './revive.js';
