import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeFacts } from '../../event/node.js';
import type { Gap } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import { turns } from '../../base/turn.js';
import type { LastKnown, SessionEnd, SessionRecord, SessionSink, SinkProgress } from '../store.js';
import { GAPS, NODE_FIELDS, OWN_TAGS, SESSIONS, SPEC, SPOOL } from './column.js';
import { jsonPieces, listValue, tag, textValue } from './line.js';
import { nanosecondsOf, type PointWriter } from './point.js';
import type { RollupWriter } from './rollup.js';
import { Lot } from './lot.js';
import type { Sender } from './sender.js';

export interface SinkOptions {
  readonly record: SessionRecord;
  readonly host: string;
  readonly node: NodeFacts;
  readonly sender: Sender;
  readonly writer: PointWriter | RollupWriter;
  readonly onFinish: () => void;
}

const PART = 512;
const TICK_MS = 1000;
/** How long a flush waits for the database; then it is content with the disk. */
const PATIENCE_MS = 500;
/** With no event for so long, windows close by the clock; else by the events' own time, which may be behind it. */
const QUIET_MS = 2000;

/** Makes points of one session's events, in turns, and gives them to the sender. */
export class InfluxSink implements SessionSink {
  readonly #options: SinkOptions;
  #record: SessionRecord;
  readonly #timer: NodeJS.Timeout | null;
  /** Up to which point of the sender events were given, and how many events and places that were. */
  readonly #marks: { readonly accepted: number; readonly events: number; readonly nextSeq: number }[] = [];
  #taken = 0;
  /** Of those taken, the events whose points the sender was given; of a rollup those of windows that have closed. */
  #given = 0;
  #safe = 0;
  /** Of those given, the events whose points will never be in the database. */
  #refused = 0;
  /** Events that it was not given, and not meant to. */
  #omitted = 0;
  #nextSeq = 0;
  #safeSeq = 0;
  #lastWrite = 0;

  constructor(options: SinkOptions) {
    this.#options = options;
    this.#record = options.record;
    this.#timer = 'take' in options.writer ? setInterval(() => void this.#tick(), TICK_MS).unref() : null;
  }

  async write(slices: readonly Slice[], gap: Gap | null): Promise<void> {
    const { writer, sender } = this.#options;
    this.#lastWrite = Date.now();
    if (gap) await sender.push([this.#gapLine(gap)]);
    for (const slice of slices) {
      for (let at = slice.from; at < slice.to; at += PART) {
        const to = Math.min(slice.to, at + PART);
        this.#taken += to - at;
        this.#nextSeq = slice.batch.placeOf(to - 1) + 1;
        // Of a rollup, events are safe with the windows that they are in.
        if ('take' in writer) writer.add(slice, at, to);
        else await this.#give(linesOf(writer, slice, at, to), to - at);
        if (!turns.isOpen) await turns.next();
      }
    }
  }

  async skip(gap: Gap, nextSeq: number): Promise<void> {
    const line = this.#gapLine(gap);
    this.#omitted += gap.dropped;
    this.#nextSeq = nextSeq;
    await this.#give([line], 0);
  }

  get progress(): SinkProgress {
    this.#settle();
    const { state, problem } = this.#options.sender.stats;
    const written = Math.max(0, this.#safe - this.#refused);
    return {
      written,
      pending: this.#taken - this.#lost - written,
      dropped: this.#lost,
      removed: 0,
      nextSeq: this.#safeSeq,
      error: state === 'AWAY' || state === 'REFUSED' ? problem : null,
    };
  }

  get omitted(): number {
    return this.#omitted;
  }

  /** Events that will never be in the database: they came too late, or it or the spool refused their points. */
  get #lost(): number {
    const { writer } = this.#options;
    return this.#refused + ('take' in writer ? writer.missed : 0);
  }

  async update(record: SessionRecord): Promise<void> {
    this.#record = record;
    await this.#options.sender.push([this.sessionLine(null)]);
  }

  async flush(): Promise<void> {
    const { sender } = this.#options;
    await sender.flush();
    const { accepted } = sender.stats;
    for (const until = performance.now() + PATIENCE_MS; sender.safe < accepted && performance.now() < until;)
      await sleep(10);
    if (sender.safe < accepted) await sender.spill();
  }

  async finish(end: SessionEnd): Promise<void> {
    const { sender, onFinish } = this.#options;
    await this.#close();
    await sender.push([this.sessionLine(end, this.#nextSeq, 0)]);
    await this.flush();
    onFinish();
  }

  giveUp(end: SessionEnd, nextSeq: number, { session, offs }: LastKnown): void {
    const { sender } = this.#options;
    const untold = offs.filter(({ to }) => to > this.#nextSeq).map(({ gap }) => gap);
    const omitted = untold.reduce((sum, gap) => sum + gap.dropped, 0);
    const dropped = Math.max(0, nextSeq - this.#nextSeq - omitted);
    this.#record = session;
    this.#omitted += omitted;
    const { stoppedAt: at } = end;
    const { problem } = sender.stats;
    const error = `${dropped} of its events were not stored before the server ended${problem === null ? '' : `: ${problem}`}`;
    void this.#close();
    void sender.push([
      ...untold.map((gap) => this.#gapLine(gap)),
      ...(dropped ? [this.#gapLine({ from: at, to: at, lost: 0, dropped, where: 'STORE' })] : []),
      this.sessionLine(dropped ? { ...end, error: end.error ?? error } : end, nextSeq, dropped),
    ]);
  }

  /** Gives what still waits for more of its window. Nothing is awaited before the sender has it. */
  #close(): Promise<void> {
    const { writer } = this.#options;
    if (this.#timer) clearInterval(this.#timer);
    if (!('take' in writer)) return Promise.resolve();
    const { lines, events } = writer.take(Number.POSITIVE_INFINITY);
    return this.#give(lines, events);
  }

  /**
   * The session itself, as a point: the one of its end completes that of its beginning. `missing`: events that it was never given, besides
   * those that were lost on their way.
   */
  sessionLine(end: SessionEnd | null, nextSeq = 0, missing = 0): string {
    const { node, sender } = this.#options;
    const record = this.#record;
    const { id, name, labels, trackers, options, capture, mode, createdAt, asked } = record;
    const startedAt = end?.startedAt ?? record.startedAt;
    const fields = {
      // Of a session that has lost its name, the point has the one before.
      name: textValue(name ?? ''),
      [NODE_FIELDS.id]: textValue(node.id),
      [NODE_FIELDS.name]: textValue(node.name),
      [SPOOL]: textValue(sender.spoolId),
      labels: textValue(JSON.stringify(labels)),
      trackers: listValue(trackers),
      options: textValue(JSON.stringify(options)),
      ...Object.fromEntries(
        (asked ? jsonPieces(asked) : []).map((piece, i) => [i ? `${SPEC}_${i}` : SPEC, textValue(piece)]),
      ),
      capture: textValue(capture),
      mode: textValue(mode),
      createdAt: textValue(createdAt),
      ...(startedAt === null ? {} : { startedAt: textValue(startedAt) }),
      state: textValue(end?.state ?? 'RUNNING'),
      ...(end
        ? {
            stoppedAt: textValue(end.stoppedAt),
            stopReason: textValue(end.stopReason),
            lost: `${end.lost}i`,
            received: `${end.received}i`,
            discarded: `${end.discarded}i`,
            receivedBytes: `${end.receivedBytes}i`,
            events: `${this.#taken - this.#lost}i`,
            missing: `${this.#lost + this.#omitted + missing}i`,
            omitted: `${this.#omitted}i`,
            nextSeq: `${nextSeq}i`,
          }
        : {}),
      ...(end?.error ? { error: textValue(end.error) } : {}),
    };
    const text = Object.entries(fields)
      .map(([field, value]) => `${field}=${value}`)
      .join(',');
    return `${SESSIONS}${this.#tags(id)} ${text} ${nanosecondsOf(createdAt)}`;
  }

  #gapLine({ from, to, lost, dropped, where }: Gap): string {
    return (
      `${GAPS}${this.#tags(this.#options.record.id)} ` +
      `from=${textValue(from)},to=${textValue(to)},lost=${lost}i,dropped=${dropped}i,where=${textValue(where)},seq=${this.#nextSeq}i ` +
      `${nanosecondsOf(to)}`
    );
  }

  #tags(session: string): string {
    return `${tag(OWN_TAGS.host, this.#options.host)}${tag(OWN_TAGS.session, session)}`;
  }

  /** Hands points to the sender, which stand for so many events. */
  async #give(lines: readonly string[], events: number): Promise<void> {
    const { sender, writer } = this.#options;
    this.#given += events;
    const given = this.#given;
    const nextSeq = ('take' in writer ? writer.openSeq : null) ?? this.#nextSeq;
    const lot = new Lot(lines.length, events, (refused) => (this.#refused += refused));
    const pushed = sender.push(lines, lot);
    this.#settle();
    this.#marks.push({ accepted: sender.stats.accepted, events: given, nextSeq });
    await pushed;
  }

  /** Counts what is safe by now. */
  #settle(): void {
    const { safe } = this.#options.sender;
    let settled = 0;
    for (const mark of this.#marks) {
      if (mark.accepted > safe) break;
      settled++;
      this.#safe = mark.events;
      this.#safeSeq = mark.nextSeq;
    }
    this.#marks.splice(0, settled);
  }

  async #tick(): Promise<void> {
    const { writer } = this.#options;
    if (!('take' in writer)) return;
    const { lines, events } = writer.take(Date.now() - this.#lastWrite > QUIET_MS ? Date.now() : null);
    if (lines.length || events) await this.#give(lines, events);
  }
}

function linesOf(writer: PointWriter, { batch }: Slice, from: number, to: number): string[] {
  const lines: string[] = [];
  for (let i = from; i < to; i++) lines.push(writer.lineOf(batch.event(i), batch.placeOf(i)));
  return lines;
}
