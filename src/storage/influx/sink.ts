import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeFacts } from '../../event/node.js';
import type { Gap } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import { turns } from '../../base/turn.js';
import type { SessionEnd, SessionRecord, SessionSink, SinkProgress } from '../store.js';
import { GAPS, NODE_FIELDS, OWN_TAGS, SESSIONS, SPEC } from './column.js';
import { jsonPieces, listValue, tag, textValue } from './line.js';
import { nanosecondsOf, type PointWriter } from './point.js';
import type { RollupWriter } from './rollup.js';
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
  readonly #timer: NodeJS.Timeout | null;
  /** Up to which point of the sender events were given, and how many events and places that were. */
  #marks: { readonly accepted: number; readonly events: number; readonly nextSeq: number }[] = [];
  #taken = 0;
  #safe = 0;
  #nextSeq = 0;
  #safeSeq = 0;
  #lastWrite = 0;

  constructor(options: SinkOptions) {
    this.#options = options;
    this.#timer = 'take' in options.writer ? setInterval(() => void this.#tick(), TICK_MS).unref() : null;
  }

  async write(slices: readonly Slice[], gap: Gap | null): Promise<void> {
    const { writer, sender } = this.#options;
    this.#lastWrite = Date.now();
    if (gap) await sender.push([this.#gapLine(gap)]);
    for (const slice of slices) {
      for (let at = slice.from; at < slice.to; at += PART) {
        const to = Math.min(slice.to, at + PART);
        if ('take' in writer) writer.add(slice, at, to);
        else await sender.push(linesOf(writer, slice, at, to));
        this.#taken += to - at;
        this.#nextSeq = slice.batch.placeOf(to - 1) + 1;
        if (!turns.isOpen) await turns.next();
      }
    }
    // Of a rollup, events are safe with the windows that they are in: those of the next write to come.
    if (!('take' in writer)) this.#mark();
  }

  get progress(): SinkProgress {
    const { sender, writer } = this.#options;
    const safe = sender.safe;
    while (this.#marks[0] && this.#marks[0].accepted <= safe) {
      const mark = this.#marks.shift();
      this.#safe = mark?.events ?? this.#safe;
      this.#safeSeq = mark?.nextSeq ?? this.#safeSeq;
    }
    const { state, problem } = sender.stats;
    return {
      written: this.#safe,
      pending: this.#taken - this.#safe,
      dropped: 'take' in writer ? writer.missed : 0,
      removed: 0,
      nextSeq: this.#safeSeq,
      error: state === 'AWAY' || state === 'REFUSED' ? problem : null,
    };
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
    const { writer, sender, onFinish } = this.#options;
    if (this.#timer) clearInterval(this.#timer);
    if ('take' in writer) await sender.push(writer.take(Number.POSITIVE_INFINITY));
    this.#mark();
    await sender.push([this.sessionLine(end)]);
    await this.flush();
    onFinish();
  }

  giveUp(end: SessionEnd, nextSeq: number): void {
    const { sender } = this.#options;
    const dropped = Math.max(0, nextSeq - this.#nextSeq);
    const { stoppedAt: at } = end;
    void sender.push([
      ...(dropped ? [this.#gapLine({ from: at, to: at, lost: 0, dropped, where: 'STORE' })] : []),
      this.sessionLine(end),
    ]);
  }

  /** The session itself, as a point: the one of its end completes that of its beginning. */
  sessionLine(end: SessionEnd | null): string {
    const { node, record } = this.#options;
    const { id, name, labels, trackers, options, capture, mode, createdAt, asked } = record;
    const startedAt = end?.startedAt ?? record.startedAt;
    const fields = {
      ...(name === null ? {} : { name: textValue(name) }),
      [NODE_FIELDS.id]: textValue(node.id),
      [NODE_FIELDS.name]: textValue(node.name),
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
            events: `${this.#taken}i`,
            nextSeq: `${this.#nextSeq}i`,
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

  #mark(): void {
    this.#marks.push({ accepted: this.#options.sender.stats.accepted, events: this.#taken, nextSeq: this.#nextSeq });
  }

  async #tick(): Promise<void> {
    const { writer, sender } = this.#options;
    if (!('take' in writer)) return;
    const lines = writer.take(Date.now() - this.#lastWrite > QUIET_MS ? Date.now() : null);
    if (lines.length) await sender.push(lines);
  }
}

function linesOf(writer: PointWriter, { batch }: Slice, from: number, to: number): string[] {
  const lines: string[] = [];
  for (let i = from; i < to; i++) lines.push(writer.lineOf(batch.event(i), batch.placeOf(i)));
  return lines;
}
