import { randomBytes } from 'node:crypto';
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import {
  containerOf,
  processOf,
  stateAfter,
  type Alert,
  type AlertAction,
  type AlertChange,
  type AlertState,
  type NewAlert,
} from './alert.js';
import { Combined, combinedBy } from './combined.js';
import { Counts, type AlertCount } from './counts.js';
import { evidenceText, type EventsAfter } from './evidence.js';
import { Happenings, type Happening } from './happenings.js';
import { Journal } from './journal.js';
import { ChangeReader, AlertReader } from './reader.js';
import { alertRecord, headRecord, type AlertRecord } from './record.js';
import { isActive, type Silence, type SilenceMatch } from './silence.js';
import { SilenceBook } from './silence-book.js';
import { bytesOf, bytesOfChange } from './size.js';

export { severities, type Alert, type NewAlert, type Severity } from './alert.js';

const MAX_ALERTS = 10_000;
/** About what these may take, their evidence above all. */
const MAX_BYTES = 64 << 20;
const SAME_MS = 300_000;
/** How often it is told and written that alerts were raised again. */
const COUNT_MS = 1000;

export interface AlertBookOptions {
  /**
   * Called synchronously with each new alert that is not silenced. It must be cheap and must not throw.
   */
  readonly onAlert?: (alert: Alert) => void;
  readonly log?: Log;
}

/**
 * The newest alerts of the server, what people did with them, and their subscribers. With a journal they outlive the server. Raising one
 * waits for nobody: a slow subscriber loses its oldest alerts and is told how many, and the journal is written behind.
 */
export class AlertBook {
  #alerts: Alert[] = [];
  /** Of `#alerts`: those before it are forgotten. */
  #first = 0;
  readonly #byId = new Map<string, Alert>();
  #bytes = 0;
  #nextSeq = 0;
  #nextRevision = 0;
  readonly #isKept = ({ id }: Alert): boolean => this.#byId.has(id);
  readonly #combined = new Combined(this.#isKept);
  readonly #happenings = new Happenings();
  readonly #silences = new SilenceBook();
  readonly #readers = new Set<AlertReader>();
  readonly #changeReaders = new Set<ChangeReader>();
  readonly #watchers = new Set<() => void>();
  readonly #options: AlertBookOptions;
  readonly #counts = new Counts();
  /** Raised again since that was last told. */
  readonly #counted = new Set<Alert>();
  #counting: NodeJS.Timeout | null = null;
  /** Of those that were raised again: by what they are combined, and where that is counted. */
  readonly #repeating = new WeakMap<Alert, { readonly key: string; readonly counted: AlertCount }>();
  #journal: Journal | null = null;
  /** Why there is no journal. */
  #problem: string | null = null;

  constructor(options: AlertBookOptions = {}) {
    this.#options = options;
  }

  /**
   * With a journal in a directory, which it reads. Where that cannot be used, alerts are in memory, `problem` says why, and so
   * does the log. Without a directory they are in memory.
   */
  static async open(
    directory: string | null,
    options: AlertBookOptions & { readonly log: Log; readonly retryMs?: number },
  ): Promise<AlertBook> {
    const book = new AlertBook(options);
    if (directory === null) return book;
    try {
      const journal = await Journal.open({ ...options, directory }, (record) => book.#read(record));
      book.#settle();
      book.#journal = journal;
      journal.begin(() => book.#records());
      return book;
    } catch (error) {
      options.log.error({ err: error }, 'alerts are in memory only, and end with the server');
      const empty = new AlertBook(options); // without the part that was read
      empty.#problem = `${messageOf(error)}; alerts end with the server`;
      return empty;
    }
  }

  /** Whether alerts outlive the server. */
  get isLasting(): boolean {
    return this.#journal !== null && this.#journal.problem === null;
  }

  /** Why alerts do not outlive the server though they should; null when they do, or there is no data directory. */
  get problem(): string | null {
    return this.#problem ?? this.#journal?.problem ?? null;
  }

  get size(): number {
    return this.#alerts.length - this.#first;
  }

  /**
   * Makes an alert, or counts one that there is with this key. Returns that, or null where the source has raised too many. Never throws and
   * waits for nothing.
   */
  raise(raised: NewAlert): Alert | null {
    const now = Date.now();
    const at = nowText();
    const counted = this.#counts.of(raised);
    counted.raised++;
    const key = combinedBy(raised);
    const known = key === null ? null : this.#known(key, now);
    if (known) {
      if (key !== null) this.#repeating.set(known, { key, counted });
      this.#countOn(known, at);
      return known;
    }
    if (!this.#counts.mayRaise(raised.source)) {
      counted.suppressed++;
      return null;
    }
    const alert = this.#alertOf(raised.renewed?.() ?? raised, at, now);
    counted.alerts++;
    if (alert.silencedBy) counted.silenced++;
    if (key !== null) this.#combined.begin(key, alert, now);
    this.#keep(alert);
    this.#journal?.append(() => (this.#byId.has(alert.id) ? alertRecord(alert) : null));
    for (const reader of this.#readers) reader.push(alert);
    this.#changed(alert);
    if (!alert.silencedBy) this.#options.onAlert?.(alert);
    return alert;
  }

  /**
   * Counts an alert that `raise` has counted as raised again, as it would once more with the same source and severity. False where that
   * would do more than count: nothing is counted then.
   */
  raiseAgain(alert: Alert): boolean {
    const repeating = this.#repeating.get(alert);
    if (!repeating || this.#known(repeating.key, Date.now()) !== alert) return false;
    repeating.counted.raised++;
    this.#countOn(alert, nowText());
    return true;
  }

  /** What somebody does with an alert that there is. It is in the journal when it resolves, unless that cannot be written. */
  async change(
    alert: Alert,
    action: AlertAction,
    by: string,
    comment: string | null,
    session: string | null = null,
  ): Promise<void> {
    const change: AlertChange = { action, by, at: nowText(), comment, session, revision: this.#nextRevision++ };
    alert.history = [...alert.history, change];
    if (action !== 'COMMENTED' && action !== 'ACTED') alert.state = stateAfter[action];
    this.#combined.changed(alert);
    this.#happenings.add({ revision: change.revision, alert, change });
    this.#journal?.append(() => ({ kind: 'change', seq: alert.seq, change, state: alert.state }));
    this.#changed(alert);
    this.#grow(alert, change);
    await this.written();
  }

  /** What was gathered of events after an alert so far. It is in the journal at the end. */
  setAfter(alert: Alert, after: EventsAfter): void {
    if (!this.#byId.has(alert.id)) return;
    this.#bytes += after.events.length - (alert.after?.events.length ?? 0);
    alert.after = after;
    if (!after.isGathering) this.#journal?.append(() => ({ kind: 'after', seq: alert.seq, after }));
    this.#changed(alert);
    this.#bound();
  }

  /** Resolves when all that has happened is in the journal, unless that cannot be written. */
  async written(): Promise<void> {
    await this.#journal?.written();
  }

  /** Counts by source and severity. A source that never raised an alert has none. */
  counts(): readonly AlertCount[] {
    return this.#counts.all();
  }

  /** How many there are in each state. */
  states(): Readonly<Record<AlertState, number>> {
    const states = { OPEN: 0, ACKNOWLEDGED: 0, RESOLVED: 0 };
    for (const alert of this.newest()) states[alert.state]++;
    return states;
  }

  byId(id: string): Alert | null {
    return this.#byId.get(id) ?? null;
  }

  /** All of them, newest first. */
  *newest(): Generator<Alert, void> {
    for (let i = this.#alerts.length - 1; i >= this.#first; i--) {
      const alert = this.#alerts[i];
      if (alert) yield alert;
    }
  }

  /** Newest first. */
  list(first: number, matches: (alert: Alert) => boolean): Alert[] {
    const found: Alert[] = [];
    for (const alert of this.newest()) {
      if (found.length >= first) break;
      if (matches(alert)) found.push(alert);
    }
    return found;
  }

  /** Subscribes to alerts from now on. */
  follow(matches: (alert: Alert) => boolean): AsyncIterableIterator<Alert> {
    const reader = new AlertReader(matches, (closed) => this.#readers.delete(closed));
    this.#readers.add(reader);
    return reader;
  }

  /** Subscribes to alerts that are raised, are raised again (once a second at most), or that somebody changes. */
  followChanges(matches: (alert: Alert) => boolean): AsyncIterableIterator<Alert> {
    const reader = new ChangeReader(matches, (closed) => this.#changeReaders.delete(closed));
    this.#changeReaders.add(reader);
    return reader;
  }

  /** Silences that are in force come first, then those that are over, the newest first of each. */
  silences(): readonly Silence[] {
    return this.#silences.list();
  }

  silence(id: string): Silence | null {
    return this.#silences.get(id);
  }

  /** Alerts that match are silenced from now on. Rejects with BAD_SELECTOR for a glob that is none. */
  async addSilence(given: SilenceMatch & Pick<Silence, 'reason' | 'by' | 'until'>): Promise<Silence> {
    const id = `silence:${randomBytes(8).toString('hex')}`;
    const silence: Silence = { ...given, id, createdAt: nowText(), endedAt: null, endedBy: null };
    await this.#keepSilence(silence);
    return silence;
  }

  /** Ends a silence that is in force. */
  async endSilence(silence: Silence, by: string): Promise<Silence> {
    const ended = { ...silence, endedAt: nowText(), endedBy: by };
    await this.#keepSilence(ended);
    return ended;
  }

  /** What happened first behind a revision; null when nothing did. What was forgotten is left out. */
  after(revision: number): Happening | null {
    return this.#happenings.after(revision, this.#isKept);
  }

  /** The revision of what happened last; -1 before anything has. */
  get revision(): number {
    return this.#nextRevision - 1;
  }

  /** Called whenever something has happened, synchronously; it must be cheap and must not throw. Returns what ends that. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Up to which revision a receiver was told; null for one that never was. */
  placeOf(receiver: string): number | null {
    return this.#happenings.places.get(receiver) ?? null;
  }

  /** It is in the journal when it resolves, unless that cannot be written. */
  async setPlace(receiver: string, revision: number): Promise<void> {
    this.#happenings.setPlace(receiver, revision);
    this.#journal?.append(() => ({
      kind: 'place',
      receiver,
      revision: this.#happenings.places.get(receiver) ?? revision,
    }));
    await this.written();
  }

  /** Ends all subscriptions: subscribers receive what is queued for them, and then the end. */
  end(): void {
    this.#tellCounts();
    for (const reader of [...this.#readers, ...this.#changeReaders]) reader.end();
  }

  /** Writes what is not written yet. Idempotent. */
  async close(): Promise<void> {
    this.end();
    await this.#journal?.close();
  }

  #alertOf(raised: NewAlert, at: string, now: number): Alert {
    const { evidence = null, process, container } = raised;
    const alert = {
      severity: raised.severity,
      title: raised.title,
      message: raised.message,
      source: raised.source,
      session: raised.session,
      eventId: raised.eventId ?? null,
      tracker: raised.tracker,
      process: processOf(process),
      container: containerOf(container),
      key: raised.key,
      intervalMs: raised.intervalMs ?? SAME_MS,
      rule: raised.rule ?? null,
      tags: raised.tags ?? [],
      attack: raised.attack ?? [],
      webhooks: raised.webhooks ?? null,
      time: raised.time ?? at,
      id: randomBytes(8).toString('hex'),
      seq: this.#nextSeq++,
      revision: this.#nextRevision++,
      raisedAt: at,
      count: 1,
      lastAt: at,
      state: 'OPEN' as const,
      history: [],
      missedBefore: 0,
      after: null,
    };
    return {
      ...alert,
      evidence: evidenceText(typeof evidence === 'function' ? madeBy(evidence) : evidence),
      silencedBy: this.#silences.matching(alert, now),
    };
  }

  /** An alert that another one with this key is combined with. */
  #known(key: string, now: number): Alert | null {
    const alert = this.#combined.find(key, now);
    // What a silence kept back that is over by now, nobody was told.
    if (alert?.silencedBy && !isActive(this.#silences.get(alert.silencedBy.id) ?? alert.silencedBy, now)) return null;
    return alert;
  }

  #keep(alert: Alert): void {
    this.#alerts.push(alert);
    this.#byId.set(alert.id, alert);
    this.#bytes += bytesOf(alert);
    this.#happenings.add({ revision: alert.revision, alert, change: null });
    this.#bound();
    if (this.#first < MAX_ALERTS / 10) return;
    this.#alerts = this.#alerts.slice(this.#first);
    this.#first = 0;
    this.#happenings.retain(this.#isKept);
  }

  /** Counts a change of an alert that may be forgotten. */
  #grow(alert: Alert, change: AlertChange): void {
    if (this.#byId.has(alert.id)) this.#bytes += bytesOfChange(change);
    this.#bound();
  }

  #bound(): void {
    while (this.size > MAX_ALERTS || (this.#bytes > MAX_BYTES && this.size > 1)) this.#forgetOldest();
  }

  #forgetOldest(): void {
    const oldest = this.#alerts[this.#first++];
    if (!oldest) return;
    this.#byId.delete(oldest.id);
    this.#bytes -= bytesOf(oldest);
    this.#counted.delete(oldest);
    this.#combined.forget(oldest);
    for (const reader of this.#changeReaders) reader.forget(oldest);
  }

  #changed(alert: Alert): void {
    for (const reader of this.#changeReaders) reader.push(alert);
    for (const watcher of this.#watchers) watcher();
  }

  #countOn(alert: Alert, at: string): void {
    alert.count++;
    alert.lastAt = at;
    this.#counted.add(alert);
    this.#counting ??= setTimeout(() => this.#tellCounts(), COUNT_MS).unref();
  }

  #tellCounts(): void {
    if (this.#counting) clearTimeout(this.#counting);
    this.#counting = null;
    for (const alert of this.#counted) {
      const { seq } = alert;
      this.#journal?.append(() => ({ kind: 'count', seq, count: alert.count, lastAt: alert.lastAt }));
      for (const reader of this.#changeReaders) reader.push(alert);
    }
    this.#counted.clear();
  }

  async #keepSilence(silence: Silence): Promise<void> {
    this.#silences.set(silence);
    this.#journal?.append(() => ({ kind: 'silence', silence }));
    await this.written();
  }

  /** What a journal tells, in its order. */
  #read(record: AlertRecord): void {
    switch (record.kind) {
      case 'head':
        this.#nextSeq = Math.max(this.#nextSeq, record.seq);
        this.#nextRevision = Math.max(this.#nextRevision, record.revision);
        break;
      case 'alert': {
        const { alert } = record;
        if (this.#byId.has(alert.id)) break;
        const silencedBy = alert.silencedBy && (this.#silences.get(alert.silencedBy.id) ?? alert.silencedBy);
        const read: Alert = { ...alert, silencedBy, missedBefore: 0 };
        this.#keep(read);
        for (const change of read.history) this.#happenings.add({ revision: change.revision, alert: read, change });
        this.#nextSeq = Math.max(this.#nextSeq, alert.seq + 1);
        this.#nextRevision = Math.max(this.#nextRevision, alert.revision + 1);
        break;
      }
      case 'count': {
        const alert = this.#bySeq(record.seq);
        if (!alert || alert.count >= record.count) break;
        alert.count = record.count;
        alert.lastAt = record.lastAt;
        break;
      }
      case 'change': {
        const { change, state } = record;
        this.#nextRevision = Math.max(this.#nextRevision, change.revision + 1);
        const alert = this.#bySeq(record.seq);
        if (!alert || (alert.history.at(-1)?.revision ?? -1) >= change.revision) break;
        alert.history = [...alert.history, change];
        alert.state = state;
        this.#happenings.add({ revision: change.revision, alert, change });
        this.#grow(alert, change);
        break;
      }
      case 'after': {
        const alert = this.#bySeq(record.seq);
        if (!alert) break;
        this.#bytes += record.after.events.length - (alert.after?.events.length ?? 0);
        alert.after = record.after;
        break;
      }
      case 'silence':
        this.#silences.set(record.silence);
        break;
      case 'whole':
        break;
      case 'place':
        this.#happenings.setPlace(record.receiver, record.revision);
        this.#nextRevision = Math.max(this.#nextRevision, record.revision + 1);
    }
  }

  /** To be called when the journal is read. */
  #settle(): void {
    this.#happenings.sort();
    for (const alert of this.newest())
      if (alert.after?.isGathering)
        alert.after = { ...alert.after, isGathering: false, problem: 'the server ended before they were gathered' };
    for (const alert of [...this.newest()].reverse()) this.#combined.changed(alert);
  }

  #bySeq(seq: number): Alert | null {
    let low = this.#first;
    for (let high = this.#alerts.length; low < high;) {
      const middle = (low + high) >> 1;
      if ((this.#alerts[middle]?.seq ?? 0) < seq) low = middle + 1;
      else high = middle;
    }
    const found = this.#alerts[low];
    return found?.seq === seq ? found : null;
  }

  /** All that a journal has to tell. What happens while it is read comes behind it. */
  *#records(): Generator<AlertRecord, void> {
    // Before anything else can happen: nobody was told of what the file does not have.
    const places = [...this.#happenings.places];
    yield headRecord(this.#nextSeq, this.#nextRevision);
    for (const [receiver, revision] of places) yield { kind: 'place', receiver, revision };
    for (const silence of this.#silences.all()) yield { kind: 'silence', silence };
    const alerts = this.#alerts.slice(this.#first);
    for (const alert of alerts) if (this.#byId.has(alert.id)) yield alertRecord(alert);
  }
}

function madeBy<Made>(make: () => Made | null): Made | null {
  try {
    return make();
  } catch {
    return null;
  }
}
