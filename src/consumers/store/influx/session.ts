import type { CaptureMode } from '../../../event.js';
import type { PersistMode, SessionState, StopReason } from '../../../pipeline/spec.js';
import type { StoredRecord } from '../store.js';
import type { StoredRow } from './client.js';
import { OWN_TAGS } from './column.js';

/** The session that a point tells of. One of this host that has not ended and does not run was interrupted. */
export function recordOf({ columns, time }: StoredRow, host: string): StoredRecord {
  const text = (name: string): string | null =>
    columns[name] == null || columns[name] === '' ? null : String(columns[name]);
  const state = (text('state') ?? 'STOPPED') as SessionState;
  const interrupted = state === 'RUNNING' && text(OWN_TAGS.host) === host;
  return {
    id: text(OWN_TAGS.session) ?? '',
    name: text('name'),
    labels: parsed(text('labels')) as StoredRecord['labels'],
    trackers: parsed(text('trackers')) as readonly string[],
    options: options(text('options')),
    capture: (text('capture') ?? 'DEFAULT') as CaptureMode,
    mode: (text('mode') ?? 'EVENTS') as PersistMode,
    createdAt: text('createdAt') ?? time,
    startedAt: text('startedAt'),
    state: interrupted ? 'STOPPED' : state,
    stoppedAt: text('stoppedAt'),
    stopReason: interrupted ? 'INTERRUPTED' : (text('stopReason') as StopReason | null),
    error: text('error'),
    lost: Number(columns['lost'] ?? 0),
    received: columns['received'] == null ? null : Number(columns['received']),
    discarded: Number(columns['discarded'] ?? 0),
    receivedBytes: Number(columns['receivedBytes'] ?? 0),
    events: Number(columns['events'] ?? 0),
    missing: 0,
    removed: 0,
    // Of one that did not end nobody counted: as far as there may be any.
    nextSeq: Number(columns['nextSeq'] ?? Number.MAX_SAFE_INTEGER),
    oldest: null,
    newest: null,
  };
}

function options(json: string | null): StoredRecord['options'] {
  try {
    const value: unknown = JSON.parse(json ?? '{}');
    return typeof value === 'object' && value !== null ? (value as StoredRecord['options']) : {};
  } catch {
    return {}; // cut, or another's point
  }
}

function parsed(json: string | null): readonly unknown[] {
  try {
    const list: unknown = JSON.parse(json ?? '[]');
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}
