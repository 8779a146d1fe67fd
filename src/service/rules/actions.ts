import type { Alert, AlertBook, NewAlert } from '../../alerts/book.js';
import type { RuleActionMode } from '../../base/config.js';
import { messageOf } from '../../base/errors.js';
import { Gate } from '../../base/gate.js';
import type { Log } from '../../base/log.js';
import { LabelValues, type MetricFamily, type MetricsSource } from '../../event/metric.js';
import type { Responder } from '../../inventory/responder.js';
import { responses, type Action, type ActionKind } from '../../rules/action.js';
import type { RuleAlert } from '../../rules/alert.js';
import { BoundedMap } from '../../rules/bounded.js';
import { ThrottleWindow } from '../../rules/window.js';
import type { EventsAfterAlerts } from './after.js';
import { alertOf } from './alert.js';
import type { EvidenceSessions } from './evidence-session.js';

export interface ActionOptions {
  readonly book: AlertBook;
  readonly mode: RuleActionMode;
  /** Null where there is no kernel. */
  readonly evidence: EvidenceSessions | null;
  readonly after: Pick<EventsAfterAlerts, 'begin'>;
  readonly responder: Pick<Responder, 'signal' | 'container'>;
  readonly log: Log;
}

/** Of one kind, of all rules together, within a minute. */
const MOST = 60;
/** Of these, of one rule: its storm leaves the others their part. */
const MOST_OF_RULE = 20;
const MINUTE_MS = 60_000;
/** Rules whose actions are counted; those that acted least recently are forgotten. */
const MAX_RULES = 1000;
/** Of each kind; more are not taken. */
const MAX_WAITING = 100;
/** Requests to engines, and starts of sessions, at once. */
const MAX_AT_ONCE = 4;
const MAX_SERIES = 200;
const IDLE_MS = 600_000;

type Result = 'taken' | 'failed' | 'skipped';
type Performed = Extract<Action, { readonly kind: 'collect' | 'kill' | 'pause' | 'stop' }>;

/** What came of an action, for people. */
interface Outcome {
  readonly text: string;
  readonly session?: string;
}

/**
 * Does what rules want done with their new alerts, behind what raises them: nothing here is waited for. Each action that may change or
 * cost something is logged and told in the alert's history, also where it failed or was one too many.
 */
export class RuleActions implements MetricsSource {
  readonly #options: ActionOptions;
  /** Of what was raised again, the alert that counts it. */
  readonly #repeated = new WeakMap<RuleAlert, Alert>();
  readonly #throttles = new Map<ActionKind, ThrottleWindow>();
  /** By kind and rule. */
  readonly #ofRules = new BoundedMap<ThrottleWindow>(MAX_RULES);
  readonly #gates = new Map<ActionKind, Gate>();
  readonly #waiting = new Map<ActionKind, number>();
  readonly #results = new Map<string, number>();
  /** By rule and container. */
  readonly #alerts = new Map<string, number>();
  readonly #series = new LabelValues(MAX_SERIES, IDLE_MS, (key) => this.#alerts.delete(key));

  constructor(options: ActionOptions) {
    this.#options = options;
  }

  get mode(): RuleActionMode {
    return this.#options.mode;
  }

  /** Sessions that collect evidence now. */
  get collecting(): number {
    return this.#options.evidence?.running ?? 0;
  }

  /** Over all kinds, since the server started. */
  countOf(result: Result): number {
    return [...this.#results].reduce((sum, [key, count]) => (key.endsWith(` ${result}`) ? sum + count : sum), 0);
  }

  /** Why an action is not taken here; null when it is. */
  problemOf({ kind }: Action): string | null {
    const { mode, evidence } = this.#options;
    if (responses.includes(kind) && mode !== 'on')
      return mode === 'off'
        ? 'it is switched off; start the server with --rule-actions on, or dry-run to be told what it would do'
        : '--rule-actions dry-run only tells what it would do';
    if (kind === 'collect' && evidence === null) return 'this server has no kernel to watch';
    return null;
  }

  /**
   * Puts an alert, new or repeated, into the server's list, and acts if it is a new one that is not silenced. `renew`: of a repeated one,
   * what this time would raise: somebody may have resolved the alert before. `sessionOf`: finds the session that saw its event.
   */
  raise(raised: RuleAlert, sessionOf: () => string | null, renew?: () => RuleAlert): void {
    const { book } = this.#options;
    // A storm repeats one alert a hundred thousand times a second.
    const before = renew && this.#repeated.get(raised);
    if (before && book.raiseAgain(before)) return;
    const session = sessionOf();
    let newest = raised;
    const renewed = (): NewAlert => alertOf((newest = renew?.() ?? raised), session, renewed);
    const alert = book.raise(alertOf(raised, session, renewed));
    if (renew && alert !== null) this.#repeated.set(raised, alert);
    if (alert === null || alert.count > 1) return;
    this.#options.after.begin(alert);
    if (alert.silencedBy !== null) return;
    for (const action of newest.actions) this.#act(action, newest, alert);
  }

  #act(action: Action, raised: RuleAlert, alert: Alert): void {
    const { log, mode } = this.#options;
    const { rule, container, process } = alert;
    switch (action.kind) {
      case 'log':
        log.warn({ alert: alert.id, rule, severity: alert.severity, container, process }, alert.message);
        break;
      case 'metric': {
        const key = JSON.stringify([rule, container?.name ?? container?.id ?? '']);
        const known = this.#series.of(key, Date.now());
        this.#alerts.set(known, (this.#alerts.get(known) ?? 0) + 1);
        break;
      }
      case 'webhook':
        break; // the alert says which ones
      default:
        if (responses.includes(action.kind) && mode === 'off') return;
        void this.#take(action, raised, alert);
    }
  }

  async #take(action: Performed, raised: RuleAlert, alert: Alert): Promise<void> {
    const { kind } = action;
    const waiting = this.#waiting.get(kind) ?? 0;
    const tooMany = this.#tooMany(kind, alert.source, waiting);
    if (tooMany !== null) return this.#tell(action, alert, 'skipped', { text: `not done: ${tooMany}` });
    this.#waiting.set(kind, waiting + 1);
    const leave = await this.#gateOf(kind).enter();
    try {
      this.#tell(action, alert, 'taken', await this.#perform(action, raised, alert));
    } catch (error) {
      this.#tell(action, alert, 'failed', { text: `failed: ${messageOf(error)}` });
    } finally {
      leave();
      this.#waiting.set(kind, (this.#waiting.get(kind) ?? 1) - 1);
    }
  }

  async #perform(action: Performed, raised: RuleAlert, alert: Alert): Promise<Outcome> {
    const { evidence, responder, mode } = this.#options;
    const { container, process } = alert;
    if (action.kind === 'collect') {
      if (!evidence) throw new Error('this server has no kernel to watch');
      const session = await evidence.start(action, raised, alert);
      return { text: `session ${session}`, session };
    }
    const isDry = mode === 'dry-run';
    if (action.kind === 'kill') {
      const { pid = 0, comm = '?' } = process ?? {};
      if (!isDry) await responder.signal({ pid, startNs: raised.startNs }, action.signal);
      return { text: `${isDry ? 'dry run: would send' : 'sent'} ${action.signal} to process ${pid} (${comm})` };
    }
    if (!container) throw new Error('the process is in no container');
    if (!isDry) await responder.container(container.id, action.kind);
    const done = { pause: 'paused', stop: 'stopped' }[action.kind];
    const name = container.name ?? container.id.slice(0, 12);
    return { text: isDry ? `dry run: would ${action.kind} container ${name}` : `${done} container ${name}` };
  }

  #tell({ kind }: Performed, alert: Alert, result: Result, { text, session }: Outcome): void {
    const { book, log } = this.#options;
    const key = `${kind} ${result}`;
    this.#results.set(key, (this.#results.get(key) ?? 0) + 1);
    log.warn({ alert: alert.id, rule: alert.rule, action: kind, result }, text);
    // The disk is not waited for: nobody does anything that relies on it.
    void book.change(alert, 'ACTED', alert.source, `${kind}: ${text}`, session ?? null);
  }

  /** Why it is one too many; null where it is not, and then it counts. */
  #tooMany(kind: ActionKind, source: string, waiting: number): string | null {
    if (waiting >= MAX_WAITING) return `${MAX_WAITING} others wait`;
    const now = performance.now();
    const ofRule = made(this.#ofRules, `${kind} ${source}`, () => new ThrottleWindow(MOST_OF_RULE, MINUTE_MS));
    if (!ofRule.take(now)) return `${MOST_OF_RULE} a minute are the most of one rule`;
    const ofAll = made(this.#throttles, kind, () => new ThrottleWindow(MOST, MINUTE_MS));
    return ofAll.take(now) ? null : `${MOST} a minute are the most of all rules`;
  }

  #gateOf(kind: ActionKind): Gate {
    return made(this.#gates, kind, () => new Gate(MAX_AT_ONCE));
  }

  metrics(): MetricFamily[] {
    return [
      {
        name: 'eunomia_rule_actions_total',
        type: 'counter',
        help: 'Actions of rules (collect, kill, pause, stop), by what came of them: taken, failed, or skipped as one too many.',
        samples: [...this.#results].map(([key, value]) => {
          const [action = '', result = ''] = key.split(' ');
          return { labels: { action, result }, value };
        }),
      },
      {
        name: 'eunomia_rule_alerts_total',
        type: 'counter',
        help: 'Alerts of rules with the action metric, by rule and container (empty: the host).',
        samples: [...this.#alerts].map(([key, value]) => ({ labels: labelsOf(key), value })),
      },
    ];
  }
}

/** Of what is beyond the most series, both are `other`. */
function labelsOf(key: string): { readonly rule: string; readonly container: string } {
  const [rule, container] = key.startsWith('[') ? (JSON.parse(key) as [string, string]) : [key, key];
  return { rule, container };
}

function made<Key, Value>(
  all: Pick<Map<Key, Value>, 'get'> & { set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  const known = all.get(key);
  if (known !== undefined) return known;
  const value = make();
  all.set(key, value);
  return value;
}
