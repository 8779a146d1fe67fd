import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import { EunomiaError, invalid, messageOf } from '../base/errors.js';
import type { TraceEvent } from '../event/event.js';
import { RowBatch } from '../record/row.js';
import { packBatch } from '../record/wire.js';
import { checkOptions, whereOf, type Vocabulary } from './definition.js';
import type { RealmKind, CallOutcome, PluginError, PluginGap } from './protocol.js';
import { compileSource } from './source.js';
import { defaultLimits, PluginDied, PluginThread, type Done } from './thread.js';

export interface ReplayRequest {
  /** The plugin's file; whoever runs this has the right to run it. */
  readonly plugin: string;
  readonly realm: RealmKind;
  /** Lines of JSON: a header `{"eunomia": …}`, then events as `events` returns them, and `{"gap": …}`. */
  readonly events: string;
  readonly options: unknown;
  /**
   * Makes the event of a line, checked by the types of the schema; fields that the line lacks are undefined. Throws an
   * Error that names the field.
   */
  readonly revive: (line: Readonly<Record<string, unknown>>) => TraceEvent;
}

export interface ReplaySummary {
  readonly name: string;
  readonly version: string;
  readonly events: number;
  /** Events of other trackers, or that its `where` does not take. */
  readonly discarded: number;
  readonly failed: number;
  readonly suppressed: number;
  readonly errors: readonly PluginError[];
}

/** Called after each call with what the plugin said. */
export type OnOutcome = (outcome: CallOutcome) => Promise<void> | void;

const CALL_EVENTS = 512;

/**
 * Runs a plugin over recorded events, without a kernel. Rejects with BAD_PLUGIN, BAD_USER_INPUT or BAD_RECORDING; what
 * it throws is in the summary.
 */
export async function replayPlugin(
  { plugin: path, realm, events: file, options, revive }: ReplayRequest,
  vocabulary: Vocabulary,
  onOutcome: OnOutcome,
): Promise<ReplaySummary> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw invalid('plugin', messageOf(error));
  });
  const source = await compileSource(basename(path), text);
  const { thread, facts } = await PluginThread.load(source, realm, defaultLimits[realm], vocabulary, true);
  const counts = { events: 0, discarded: 0, failed: 0, suppressed: 0 };
  const errors: PluginError[] = [];
  const take = async ({ outcome, error }: Done): Promise<void> => {
    counts.suppressed += outcome.suppressed;
    if (error) errors.push(error);
    await onOutcome(outcome);
  };
  try {
    const trackers = Object.keys(facts.reads);
    const matches = whereOf(facts, vocabulary.fields)?.matches ?? (() => true);
    await take(
      await thread.call('start', {
        facts,
        options: checkOptions(facts, options, 'options'),
        session: { id: 'replay', name: basename(file) },
        trackers,
      }),
    );
    let events: TraceEvent[] = [];
    let gap: PluginGap = null;
    let tick: number | null = null;
    const flush = async (): Promise<void> => {
      if (!events.length) return;
      const batch = new RowBatch(events, {
        clock: { seconds: 0, nanoseconds: 0 },
        seq: counts.events,
        lost: 0,
        lostFrom: 0,
        lostTo: 0,
      });
      const done = await thread.call('batch', {
        message: packBatch(batch).message,
        from: 0,
        to: batch.count,
        gap,
      });
      counts.events += events.length;
      if (done.error) counts.failed += events.length;
      events = [];
      gap = null;
      await take(done);
    };
    for await (const line of linesOf(file, revive)) {
      if (line.kind === 'gap') {
        await flush();
        gap = line.gap;
        continue;
      }
      const { event } = line;
      if (!trackers.includes(event.tracker) || !matches(event)) {
        counts.discarded++;
        continue;
      }
      // Intervals go by the events' clock.
      const at = Date.parse(event.time);
      if (facts.everyMs !== null && Number.isFinite(at)) {
        tick ??= at + facts.everyMs;
        if (at >= tick) {
          await flush();
          await take(await thread.call('interval', null));
          tick = at + facts.everyMs;
        }
      }
      events.push(event);
      if (events.length >= CALL_EVENTS) await flush();
    }
    await flush();
    if (facts.everyMs !== null) await take(await thread.call('interval', null));
    await take(await thread.call('stop', null));
  } catch (error) {
    if (!(error instanceof PluginDied)) throw error;
    errors.push(error.plugin);
  } finally {
    await thread.end();
  }
  return { name: facts.name, version: facts.version, ...counts, errors };
}

type Line = { readonly kind: 'event'; readonly event: TraceEvent } | { readonly kind: 'gap'; readonly gap: PluginGap };

async function* linesOf(file: string, revive: ReplayRequest['revive']): AsyncGenerator<Line> {
  const stream = createReadStream(file, 'utf8');
  const opened = new Promise<void>((resolve, reject) => stream.once('open', () => resolve()).once('error', reject));
  await opened.catch((error: unknown) => {
    throw invalid('replay', messageOf(error));
  });
  let number = 0;
  for await (const text of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
    number++;
    if (text.trim() === '') continue;
    const line = lineOf(text, `${file}:${number}`, revive);
    if (line) yield line;
  }
}

/** Null for a header. */
function lineOf(text: string, at: string, revive: ReplayRequest['revive']): Line | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new EunomiaError('BAD_RECORDING', `${at}: is not JSON: ${messageOf(error)}`);
  }
  if (typeof value !== 'object' || value === null) throw new EunomiaError('BAD_RECORDING', `${at}: is no object`);
  if ('eunomia' in value) return null;
  if ('gap' in value) {
    const { lost = 0, dropped = 0 } = (value.gap ?? {}) as { readonly lost?: number; readonly dropped?: number };
    return { kind: 'gap', gap: { lost, dropped } };
  }
  const tracker: unknown = Reflect.get(value, 'tracker') ?? trackerOf(Reflect.get(value, '__typename'));
  if (typeof tracker !== 'string')
    throw new EunomiaError('BAD_RECORDING', `${at}: is neither an event (it has no "tracker") nor a header nor a gap`);
  try {
    return { kind: 'event', event: revive({ ...value, tracker }) };
  } catch (error) {
    throw new EunomiaError('BAD_RECORDING', `${at}: ${messageOf(error)}`);
  }
}

function trackerOf(typename: unknown): string | null {
  return typeof typename === 'string' && typename.endsWith('Event')
    ? typename.slice(0, -'Event'.length).toLowerCase()
    : null;
}
