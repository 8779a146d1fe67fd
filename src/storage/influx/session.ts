import type { NodeFacts } from '../../event/node.js';
import { readAsked } from '../../session/asked.js';
import {
  isTime,
  parsed,
  readCapture,
  readLabels,
  readMode,
  readNames,
  readOptions,
  readReason,
  readState,
} from '../facts.js';
import type { StoredRecord } from '../store.js';
import type { StoredPoint } from './client.js';
import { NODE_FIELDS, OWN_TAGS, SPEC, SPOOL } from './column.js';
import { originalTag, originalText } from './line.js';

/** The server that reads, and writes, sessions. */
export interface SessionWriter {
  readonly host: string;
  readonly node: NodeFacts;
  /** The id of its spool. */
  readonly spool: string;
}

const INTERRUPTED = 'the server ended without stopping it; events that it had not written by then are missing';

/**
 * The session that a point tells of. One of this server that has not ended and does not run was interrupted; one of another server may run.
 */
export function recordOf({ columns, time }: StoredPoint, writer: SessionWriter): StoredRecord {
  const text = (name: string): string | null =>
    columns[name] == null || columns[name] === ''
      ? null
      : (isTag(name) ? originalTag : originalText)(String(columns[name]));
  const moment = (name: string): string | null => [text(name)].find(isTime) ?? null;
  const number = (name: string, otherwise: number): number =>
    Number.isFinite(Number(columns[name] ?? Number.NaN)) ? Number(columns[name]) : otherwise;
  const pieces: string[] = [];
  for (let piece = text(SPEC); piece !== null; piece = text(`${SPEC}_${pieces.length}`)) pieces.push(piece);
  const state = readState(text('state'));
  const owner = nodeOf(text(NODE_FIELDS.id), text(NODE_FIELDS.name));
  const spool = text(SPOOL);
  // The points of older versions have no spool, and before that no node.
  const isOurs = spool
    ? spool === writer.spool
    : owner
      ? owner.id === writer.node.id
      : text(OWN_TAGS.host) === writer.host;
  const interrupted = state === 'RUNNING' && isOurs;
  return {
    id: text(OWN_TAGS.session) ?? '',
    name: text('name'),
    labels: readLabels(text('labels')),
    trackers: readNames(text('trackers')),
    options: readOptions(text('options')),
    asked: readAsked(parsed(pieces.join(''))),
    boot: null,
    node: owner,
    capture: readCapture(text('capture')),
    mode: readMode(text('mode')),
    createdAt: moment('createdAt') ?? time,
    startedAt: moment('startedAt'),
    state: interrupted ? 'STOPPED' : state,
    stoppedAt: moment('stoppedAt'),
    stopReason: interrupted ? 'INTERRUPTED' : readReason(text('stopReason')),
    error: interrupted ? INTERRUPTED : text('error'),
    lost: number('lost', 0),
    received: columns['received'] == null ? null : number('received', 0),
    discarded: number('discarded', 0),
    receivedBytes: number('receivedBytes', 0),
    events: number('events', 0),
    missing: number('missing', 0),
    removed: 0,
    omitted: number('omitted', 0),
    // Of one that did not end nobody counted: as far as there may be any.
    nextSeq: number('nextSeq', Number.MAX_SAFE_INTEGER),
    oldest: null,
    newest: null,
  };
}

function nodeOf(id: string | null, name: string | null): NodeFacts | null {
  return id === null || name === null ? null : { id, name };
}

function isTag(name: string): boolean {
  return name === OWN_TAGS.session || name === OWN_TAGS.host;
}
