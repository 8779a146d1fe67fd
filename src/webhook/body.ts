import { evidenceSessionOf, type Alert, type AlertChange, type Severity } from '../alerts/alert.js';
import type { Happening } from '../alerts/happenings.js';
import { evidenceOf } from '../alerts/evidence.js';
import type { NodeFacts } from '../event/node.js';
import { textOfMs } from '../event/clock.js';
import type { Template, WebhookConfig } from './config.js';
import { eventOf } from './event.js';

/** What a body is made of besides the alert. */
export interface BodyContext {
  readonly node: NodeFacts;
  /** Of one alert and what happened to it: the same however often it is sent. */
  readonly delivery: string;
}

type Body = (happening: Happening, context: BodyContext) => unknown;

/** How long Alertmanager shows an alert that nobody resolves: without an end of ours it would be minutes. */
const SHOWN_MS = 86_400_000;

const bodies: Readonly<Record<Template, Body>> = { eunomia, slack, alertmanager, falcosidekick };

/** The body for one receiver, as JSON: one that receivers of that kind understand, or what the user's template makes. */
export function bodyOf({ template, body }: WebhookConfig): Body {
  return body ? (happening, context) => body(eunomia(happening, context)) : bodies[template];
}

/** The alert's fields are those of `Alert` in the schema, in name and form. */
function eunomia({ alert, change }: Happening, { node, delivery }: BodyContext): object {
  const told = (one: AlertChange) => ({ action: one.action, by: one.by, at: one.at, comment: one.comment });
  return {
    version: 1,
    delivery,
    event: eventOf(change?.action ?? null),
    node,
    alert: {
      id: alert.id,
      severity: alert.severity,
      title: alert.title,
      message: alert.message,
      source: alert.source,
      ruleName: alert.rule,
      tags: alert.tags,
      attack: alert.attack,
      state: alert.state,
      history: alert.history.map(told),
      evidence: evidenceOf(alert),
      evidenceSessionId: evidenceSessionOf(alert),
      webhooks: alert.webhooks,
      sessionId: alert.session,
      eventId: alert.eventId,
      time: alert.time,
      raisedAt: alert.raisedAt,
      lastAt: alert.lastAt,
      count: String(alert.count),
      key: alert.key,
      tracker: alert.tracker,
      process: alert.process,
      container: alert.container,
    },
    change: change && told(change),
  };
}

const COLOURS: Readonly<Record<Severity, string>> = {
  INFO: '#8c8c8c',
  LOW: '#2f7ed8',
  MEDIUM: '#e0a800',
  HIGH: '#d9601a',
  CRITICAL: '#b00020',
};

/** An incoming webhook of Slack, and of what takes its format (Mattermost, Discord at /slack). */
function slack({ alert, change }: Happening, { node }: BodyContext): object {
  const { severity, title, message, container, process, rule, source } = alert;
  const what = change === null ? severity : `${severity}, ${eventOf(change.action)} by ${change.by}`;
  const said = change?.comment ? `: ${change.comment}` : '';
  const fields = [
    ['Container', container && (container.name ?? container.id)],
    ['Process', process && `${process.comm ?? '?'} (${process.pid})`],
    [rule === null ? 'Source' : 'Rule', rule ?? source],
    ['Node', node.name],
  ] as const;
  return {
    text: escaped(`[${what}] ${title}${said}`),
    mrkdwn: false,
    attachments: [
      {
        mrkdwn_in: [],
        color: COLOURS[severity],
        fallback: escaped(message),
        text: escaped(message),
        fields: fields.flatMap(([name, value]) =>
          value === null ? [] : [{ title: name, value: escaped(value), short: true }],
        ),
        ts: Math.floor(Date.parse(alert.time) / 1000),
      },
    ],
  };
}

/**
 * The name of a process must call nobody, show no image, and hide no address behind a text. Slack has three characters of its own
 * (`<!channel>`), and its formatting is off. Others that take this format read `@channel` and Markdown, for which Slack has no escape that
 * it would not show: a zero-width space takes these apart. Emphasis stays, so that a path can be copied.
 */
function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/@|\](?=[([:])/g, '$&\u200b');
}

/** The API v2 of Alertmanager: a list of alerts, of which the labels say which one it is. */
function alertmanager({ alert, change }: Happening, { node }: BodyContext): object {
  const { id, severity, title, message, container, rule, source, raisedAt } = alert;
  const labels = {
    alertname: rule ?? title,
    alert_id: id,
    severity: severity.toLowerCase(),
    source,
    instance: node.name,
    container: container?.name ?? container?.id ?? '',
    image: container?.image ?? '',
  };
  const end = alert.state === 'RESOLVED' ? (endOf(alert) ?? textOfMs(Date.now())) : textOfMs(Date.now() + SHOWN_MS);
  return [
    {
      labels: Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== '')),
      annotations: {
        summary: title,
        description: message,
        ...(change?.comment ? { comment: change.comment } : {}),
      },
      startsAt: raisedAt,
      // The clock may have been set back in between, and an alert that ends before it starts is refused.
      endsAt: end > raisedAt ? end : raisedAt,
    },
  ];
}

function endOf({ history }: Alert): string | null {
  return history.findLast(({ action }) => action === 'RESOLVED')?.at ?? null;
}

const PRIORITIES: Readonly<Record<Severity, string>> = {
  INFO: 'Informational',
  LOW: 'Notice',
  MEDIUM: 'Warning',
  HIGH: 'Error',
  CRITICAL: 'Critical',
};

/** An event of Falco, as Falcosidekick takes it. */
function falcosidekick({ alert }: Happening, { node, delivery }: BodyContext): object {
  const { severity, title, message, container, process, rule, source, time, tags, attack, tracker } = alert;
  const fields = {
    'evt.type': tracker,
    'container.id': container?.id ?? null,
    'container.name': container?.name ?? null,
    'container.image': container?.image ?? null,
    'proc.pid': process?.pid ?? null,
    'proc.ppid': process?.ppid ?? null,
    'proc.name': process?.comm ?? null,
    'user.uid': process?.uid ?? null,
  };
  return {
    uuid: delivery,
    output: message,
    priority: PRIORITIES[severity],
    rule: rule ?? title,
    time,
    source: source.startsWith('plugin:') ? source : 'eunomia',
    hostname: node.name,
    tags: [...tags, ...attack],
    output_fields: Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)),
  };
}
