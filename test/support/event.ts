import { eventTypeName } from '../../src/base/names.js';
import type { ProcessView, TraceEvent } from '../../src/event/event.js';

/** What an event has that is not as usual: any of the common fields, and its tracker's own. */
export interface EventFields {
  readonly process?: Partial<ProcessView>;
  readonly container?: object | null;
  readonly [field: string]: unknown;
}

/** An event without a record. A getter among the fields stays one. */
export function eventWith(tracker: string, fields: EventFields = {}): TraceEvent {
  const event: TraceEvent = {
    __typename: eventTypeName(tracker),
    tracker,
    time: '2026-01-31T08:15:30.000000000Z',
    bootNs: '30000000000',
    cgroupId: '4242',
    process: {
      pid: 100,
      tid: 100,
      ppid: 1,
      uid: 1000,
      gid: 1000,
      comm: 'sh',
      startTime: '2026-01-31T08:00:00.000000000Z',
      mountNs: 4_026_531_841,
      ...fields.process,
    },
    container: null,
  };
  const { process: _merged, ...own } = Object.getOwnPropertyDescriptors(fields);
  return Object.defineProperties(event, own);
}
