import { eventTypeName } from '../../src/base/names.js';
import type { ProcessView, TraceEvent } from '../../src/event/event.js';

/** What an event has that is not as usual: any of the common fields, and its tracker's own. Of `process`, only what differs. */
export interface EventFields {
  readonly process?: object;
  readonly [field: string]: unknown;
}

/** An event without a record. A getter among the fields stays one. */
export class PlainEvent implements TraceEvent {
  readonly __typename: string;
  readonly tracker: string;
  readonly time: string = '2026-01-31T08:15:30.000000000Z';
  readonly bootNs: string = '30000000000';
  readonly cgroupId: string = '4242';
  readonly process: ProcessView = {
    pid: 100,
    tid: 100,
    ppid: 1,
    uid: 1000,
    gid: 1000,
    comm: 'sh',
    startTime: '2026-01-31T08:00:00.000000000Z',
    mountNs: '4026531841',
  };
  readonly container: object | null = null;

  constructor(tracker: string, fields: EventFields) {
    this.tracker = tracker;
    this.__typename = eventTypeName(tracker);
    const { process, ...own } = Object.getOwnPropertyDescriptors(fields);
    Object.assign(this.process, process?.value);
    Object.defineProperties(this, own);
  }
}

export function eventWith(tracker: string, fields: EventFields = {}): TraceEvent {
  return new PlainEvent(tracker, fields);
}
