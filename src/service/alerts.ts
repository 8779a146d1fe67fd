import { authorize, type Caller } from '../access/caller.js';
import { evidenceSessionOf, severities, type Alert, type AlertAction, type Severity } from '../alerts/alert.js';
import type { AlertBook } from '../alerts/book.js';
import { MAX_SILENCES } from '../alerts/silence-book.js';
import { containerMatch } from '../alerts/container.js';
import { evidenceOf, type WholeEvidence } from '../alerts/evidence.js';
import { isActive, type Silence } from '../alerts/silence.js';
import { EunomiaError, invalid } from '../base/errors.js';
import type { AlertContainer } from '../event/alert.js';
import { inTurns, sorted, type Work } from '../base/turn.js';
import { nanosecondsSince1970, textOfMs } from '../event/clock.js';
import type { AlertFilter, AlertGroup, InputMaybe, SilenceInput } from '../generated/schema.js';
import type { WebhookStats } from '../webhook/index.js';
import { DAYS_30, inRange, listInRange, spanInRange, textInRange } from './check.js';
import { listingOf, type Listing } from './listing.js';
import type { Parts } from './parts.js';
import type { PageRequest } from './session/handle.js';

const MAX_PAGE = 10_000;
const MAX_LIST = 100;
const MAX_TEXT = 1000;
const MAX_ROWS = 1000;
const MAX_COMMENT = 2000;
/** Of one alert. It can be resolved beyond it, so that none has to stay open. */
const MAX_CHANGES = 100;
/** Alerts between two looks at the clock. A test of one takes microseconds at most, unless it has a glob. */
const PIECE = 64;

export interface AlertsRequest extends Omit<PageRequest, 'where'> {
  /** This and severer ones; all when null. */
  readonly severity: Severity | null;
  readonly session: string | null;
  readonly where: InputMaybe<AlertFilter>;
}

export interface FollowAlertsRequest {
  readonly severity: Severity | null;
  readonly where: InputMaybe<AlertFilter>;
  readonly includeSilenced: boolean;
}

/** A row of `alertCounts`: what the alerts are not counted by is null. */
export interface AlertCountRow {
  readonly severity: Severity | null;
  readonly state: Alert['state'] | null;
  readonly source: string | null;
  readonly rule: string | null;
  readonly container: AlertContainer | null;
  readonly image: string | null;
  readonly sessionId: string | null;
  readonly alerts: number;
  readonly raised: string;
  readonly lastAt: string;
}

export type SilenceView = Silence & { readonly active: boolean };

type Matches = (alert: Alert) => boolean;

const groups: Readonly<Record<AlertGroup, (alert: Alert) => Partial<AlertCountRow>>> = {
  SEVERITY: ({ severity }) => ({ severity }),
  STATE: ({ state }) => ({ state }),
  SOURCE: ({ source }) => ({ source }),
  RULE: ({ rule }) => ({ rule }),
  CONTAINER: ({ container }) => ({ container }),
  IMAGE: ({ container }) => ({ image: container?.image ?? null }),
  SESSION: ({ session }) => ({ sessionId: session }),
};
/** By what groups are told apart: a container by its id, whatever it is called. */
const groupKeys: Readonly<Record<AlertGroup, (alert: Alert) => string | null>> = {
  SEVERITY: ({ severity }) => severity,
  STATE: ({ state }) => state,
  SOURCE: ({ source }) => source,
  RULE: ({ rule }) => rule,
  CONTAINER: ({ container }) => container?.id ?? null,
  IMAGE: ({ container }) => container?.image ?? null,
  SESSION: ({ session }) => session,
};

interface AlertsParts extends Pick<Parts, 'alerts' | 'log'> {
  readonly webhooks: Pick<Parts['webhooks'], 'stats'>;
}

/** What plugins and rules raised, and what people do with it. */
export class Alerts {
  readonly #parts: AlertsParts;

  constructor(parts: AlertsParts) {
    this.#parts = parts;
  }

  get #book(): AlertBook {
    return this.#parts.alerts;
  }

  /** The newest first. Rejects with BAD_USER_INPUT, BAD_SELECTOR or BAD_CURSOR. */
  async page(_caller: Caller, { severity, session, where, ...range }: AlertsRequest): Promise<Listing<Alert>> {
    const severe = atLeast(severity);
    const filter = matcherOf(where);
    const matches: Matches = (alert) =>
      severe(alert) && (session === null || alert.session === session) && filter(alert);
    const all = await inTurns(matching([...this.#book.newest()], matches));
    return listingOf(all, range, { name: 'alerts', keyOf: ({ seq }) => [-seq], most: MAX_PAGE });
  }

  /** Null when there is none, or not any more. */
  byId(_caller: Caller, id: string): Alert | null {
    return this.#book.byId(id);
  }

  /** Rejects with BAD_USER_INPUT or BAD_SELECTOR. */
  async counts(
    _caller: Caller,
    {
      by,
      where,
      limit,
    }: { readonly by: readonly AlertGroup[]; readonly where: InputMaybe<AlertFilter>; readonly limit: number },
  ): Promise<AlertCountRow[]> {
    listInRange('by', by, Object.keys(groups).length, '[RULE]');
    by.forEach((group, i) => {
      if (by.indexOf(group) < i) throw invalid(`by[${i}]`, `${group} is there already, in by[${by.indexOf(group)}]`);
    });
    inRange('limit', limit, 1, MAX_ROWS, 'rows');
    const matches = matcherOf(where);
    const rows = await inTurns(counted([...this.#book.newest()], matches, by));
    const none = {
      severity: null,
      state: null,
      source: null,
      rule: null,
      container: null,
      image: null,
      sessionId: null,
    };
    return rows.slice(0, limit).map(({ newest, alerts, raised, lastAt }) => ({
      ...none,
      ...Object.assign({}, ...by.map((group) => groups[group](newest))),
      alerts,
      raised: String(raised),
      lastAt,
    }));
  }

  status(_caller: Caller) {
    const { OPEN, ACKNOWLEDGED, RESOLVED } = this.#book.states();
    const suppressed = this.#book.counts().reduce((sum, counts) => sum + counts.suppressed, 0);
    return {
      lasting: this.#book.isLasting,
      problem: this.#book.problem,
      open: OPEN,
      acknowledged: ACKNOWLEDGED,
      resolved: RESOLVED,
      suppressed: String(suppressed),
      webhooks: this.#parts.webhooks.stats().map(statusOf),
    };
  }

  /** Throws BAD_USER_INPUT or BAD_SELECTOR. */
  follow(_caller: Caller, { severity, where, includeSilenced }: FollowAlertsRequest): AsyncIterableIterator<Alert> {
    const severe = atLeast(severity);
    const filter = matcherOf(where);
    const isHeard: Matches = ({ silencedBy }) => includeSilenced || where?.silenced === true || silencedBy === null;
    return this.#book.follow((alert) => severe(alert) && isHeard(alert) && filter(alert));
  }

  followChanges(
    _caller: Caller,
    { id, severity }: { readonly id: string | null; readonly severity: Severity | null },
  ): AsyncIterableIterator<Alert> {
    if (id !== null) this.#need(id);
    const severe = atLeast(severity);
    return this.#book.followChanges((alert) => severe(alert) && (id === null || alert.id === id));
  }

  acknowledge(caller: Caller, id: string, comment: string | null): Promise<Alert> {
    authorize(caller, 'acknowledgeAlert');
    return this.#change(caller, id, 'ACKNOWLEDGED', comment);
  }

  resolve(caller: Caller, id: string, comment: string | null): Promise<Alert> {
    authorize(caller, 'resolveAlert');
    return this.#change(caller, id, 'RESOLVED', comment);
  }

  reopen(caller: Caller, id: string, comment: string | null): Promise<Alert> {
    authorize(caller, 'reopenAlert');
    return this.#change(caller, id, 'REOPENED', comment);
  }

  comment(caller: Caller, id: string, comment: string): Promise<Alert> {
    authorize(caller, 'commentAlert');
    return this.#change(caller, id, 'COMMENTED', comment);
  }

  silences(_caller: Caller, active: boolean | null): SilenceView[] {
    return this.#book
      .silences()
      .map(viewOf)
      .filter((silence) => active === null || silence.active === active);
  }

  silenceById(_caller: Caller, id: string): SilenceView | null {
    const silence = this.#book.silence(id);
    return silence && viewOf(silence);
  }

  /** The silence of an alert as it is now. */
  silenceOf({ silencedBy }: Alert): SilenceView | null {
    return silencedBy && viewOf(this.#book.silence(silencedBy.id) ?? silencedBy);
  }

  evidenceOf(alert: Alert): WholeEvidence | null {
    return evidenceOf(alert);
  }

  /** Id of the session that collects what happened after it; null for none. */
  evidenceSessionOf(alert: Alert): string | null {
    return evidenceSessionOf(alert);
  }

  /** Rejects with FORBIDDEN, BAD_USER_INPUT, BAD_SELECTOR or LIMIT_EXCEEDED. */
  async silence(caller: Caller, input: SilenceInput): Promise<SilenceView> {
    authorize(caller, 'silence');
    const text = (name: 'rule' | 'source' | 'container' | 'image' | 'key'): string | null =>
      input[name] == null ? null : textInRange(`input.${name}`, input[name], MAX_TEXT);
    const match = {
      rule: text('rule'),
      source: text('source'),
      container: text('container'),
      image: text('image'),
      key: text('key'),
      severityAtMost: input.severityAtMost ?? null,
    };
    if (Object.values(match).every((value) => value === null))
      throw invalid(
        'input',
        'names nothing; give at least one of rule, source, container, image, key and severityAtMost, for example { rule: "port-scan" }',
      );
    if (input.reason.trim() === '') throw invalid('input.reason', 'is empty; say why, for whoever asks later');
    const reason = textInRange('input.reason', input.reason, MAX_TEXT);
    const until = untilOf(input);
    if (this.#book.silences().filter((one) => isActive(one, Date.now())).length >= MAX_SILENCES)
      throw new EunomiaError(
        'LIMIT_EXCEEDED',
        `${MAX_SILENCES} silences are in force, which is the most; end one first, or make one for several of them`,
        { details: { limit: 'silences', maximum: MAX_SILENCES } },
      );
    const silence = await this.#book.addSilence({ ...match, reason, by: caller.who, until });
    this.#parts.log.info({ silence: silence.id, by: caller.who, ...match, until, reason }, 'alerts are silenced');
    return viewOf(silence);
  }

  /** Rejects with FORBIDDEN or UNKNOWN_SILENCE. */
  async endSilence(caller: Caller, id: string): Promise<SilenceView> {
    authorize(caller, 'endSilence');
    const silence = this.#book.silence(id);
    if (!silence)
      throw new EunomiaError(
        'UNKNOWN_SILENCE',
        `there is no silence "${id.slice(0, 64)}", or not any more; the query \`silences\` lists those there are`,
      );
    if (!isActive(silence, Date.now())) return viewOf(silence);
    const ended = await this.#book.endSilence(silence, caller.who);
    this.#parts.log.info({ silence: id, by: caller.who }, 'a silence is ended');
    return viewOf(ended);
  }

  async #change(caller: Caller, id: string, action: AlertAction, given: string | null): Promise<Alert> {
    const comment = given === null ? null : textInRange('comment', given, MAX_COMMENT);
    if (comment?.trim() === '') {
      const right = action === 'COMMENTED' ? 'say something' : 'say something, or leave it out';
      throw invalid('comment', `is blank; ${right}`);
    }
    const alert = this.#need(id);
    if (action === 'ACKNOWLEDGED' && alert.state === 'RESOLVED')
      throw new EunomiaError('ALERT_RESOLVED', 'the alert is resolved; reopen it first, with `reopenAlert`');
    const isSo = action !== 'COMMENTED' && alert.state === (action === 'REOPENED' ? 'OPEN' : action);
    if (isSo && comment === null) {
      // Somebody else may have made it so a moment ago.
      await this.#book.written();
      return alert;
    }
    const done: AlertAction = isSo ? 'COMMENTED' : action;
    if (alert.history.length >= MAX_CHANGES && done !== 'RESOLVED')
      throw new EunomiaError(
        'LIMIT_EXCEEDED',
        `the alert has ${MAX_CHANGES} changes, which is the most; it can still be resolved`,
        { details: { limit: 'alertChanges', maximum: MAX_CHANGES } },
      );
    this.#parts.log.info({ alert: id, title: alert.title, by: caller.who, action: done }, 'an alert is handled');
    await this.#book.change(alert, done, caller.who, comment);
    return alert;
  }

  #need(id: string): Alert {
    const alert = this.#book.byId(id);
    if (alert) return alert;
    throw new EunomiaError(
      'UNKNOWN_ALERT',
      `there is no alert "${id.slice(0, 64)}", or not any more; the query \`alerts\` lists those there are`,
    );
  }
}

function statusOf({ delivered, refused, failures, forgotten, pending, ...facts }: WebhookStats) {
  return {
    ...facts,
    delivered: String(delivered),
    refused: String(refused),
    failures: String(failures),
    forgotten: String(forgotten),
    pending: String(pending),
  };
}

function viewOf(silence: Silence): SilenceView {
  return { ...silence, active: isActive(silence, Date.now()) };
}

function untilOf({ for: forMs, until }: SilenceInput): string {
  if ((forMs == null) === (until == null))
    throw invalid('input', 'needs an end: give either `for`, for example "2h", or `until`');
  const now = Date.now();
  if (forMs != null) return textOfMs(now + spanInRange('input.for', forMs, 1000, DAYS_30));
  const end = until ?? '';
  const left = Date.parse(end) - now;
  if (left <= 0) throw invalid('input.until', `${end} has passed; give a later time`);
  if (left > DAYS_30) throw invalid('input.until', `${end} is more than 30 days from now; give an earlier time`);
  return end;
}

function* matching(alerts: readonly Alert[], matches: Matches): Work<Alert[]> {
  const found: Alert[] = [];
  for (const [i, alert] of alerts.entries()) {
    if (i % PIECE === PIECE - 1) yield;
    if (matches(alert)) found.push(alert);
  }
  return found;
}

interface Counted {
  readonly newest: Alert;
  alerts: number;
  raised: number;
  lastAt: string;
}

/** The most alerts first. */
function* counted(newest: readonly Alert[], matches: Matches, by: readonly AlertGroup[]): Work<Counted[]> {
  const alerts = yield* matching(newest, matches);
  const rows = new Map<string, Counted>();
  for (const [i, alert] of alerts.entries()) {
    if (i % PIECE === PIECE - 1) yield;
    const key = JSON.stringify(by.map((group) => groupKeys[group](alert)));
    const row = rows.get(key) ?? { newest: alert, alerts: 0, raised: 0, lastAt: alert.lastAt };
    row.alerts++;
    row.raised += alert.count;
    if (alert.lastAt > row.lastAt) row.lastAt = alert.lastAt;
    rows.set(key, row);
  }
  return yield* sorted([...rows.values()], (a, b) => b.alerts - a.alerts || b.raised - a.raised);
}

/** Throws BAD_USER_INPUT or BAD_SELECTOR. */
function matcherOf(where: InputMaybe<AlertFilter> | undefined): Matches {
  if (where == null) return () => true;
  const all: Matches[] = [];
  const { severity, states, sources, rules, tags, attack, container, session, key, silenced, since, until } = where;
  const among = <Value>(
    name: string,
    values: InputMaybe<readonly Value[]> | undefined,
    example: string,
    test: (alert: Alert, values: ReadonlySet<Value>) => boolean,
  ): void => {
    if (values == null) return;
    const set = new Set(listInRange(`where.${name}`, values, MAX_LIST, example));
    all.push((alert) => test(alert, set));
  };
  if (severity != null) all.push(atLeast(severity));
  among('states', states, '[OPEN]', ({ state }, set) => set.has(state));
  among('sources', sources, '["plugin:drift"]', ({ source }, set) => set.has(source));
  among('rules', rules, '["port-scan"]', ({ rule }, set) => rule !== null && set.has(rule));
  among('tags', tags, '["shell"]', (alert, set) => alert.tags.some((tag) => set.has(tag)));
  among('attack', attack, '["T1059"]', (alert, set) => alert.attack.some((id) => isWithin(id, set)));
  if (container != null) {
    const { name = null, id = null, image = null } = container;
    if (name === null && id === null && image === null)
      throw invalid(
        'where.container',
        'is empty; give at least one of name, id and image, for example { name: "web-*" }',
      );
    const matches = containerMatch({ name, id, image });
    all.push((alert) => alert.container !== null && matches(alert.container));
  }
  if (session != null) all.push((alert) => alert.session === session);
  if (key != null) all.push((alert) => alert.key === key);
  if (silenced != null) all.push(({ silencedBy }) => (silencedBy !== null) === silenced);
  if (since != null) all.push(({ raisedAt }) => raisedAt >= since);
  if (until != null) all.push(({ raisedAt }) => raisedAt < until);
  if (since != null && until != null && nanosecondsSince1970(since) >= nanosecondsSince1970(until))
    throw invalid('where.until', 'is not later than where.since; nothing is between them');
  return (alert) => all.every((test) => test(alert));
}

/** "T1059.004" is within itself and "T1059". */
function isWithin(id: string, set: ReadonlySet<string>): boolean {
  for (let end = id.length; end > 0; end = id.lastIndexOf('.', end - 1)) if (set.has(id.slice(0, end))) return true;
  return false;
}

function atLeast(severity: Severity | null): Matches {
  const least = severity === null ? 0 : severities.indexOf(severity);
  return (alert) => severities.indexOf(alert.severity) >= least;
}
