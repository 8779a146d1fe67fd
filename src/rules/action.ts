import type { ConfigFile, Path } from '../base/config-file.js';
import type { RulePlace } from './definition.js';

/** Signals that a rule may send. */
export const actionSignals = ['SIGKILL', 'SIGTERM', 'SIGSTOP', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const;
export type ActionSignal = (typeof actionSignals)[number];

/** What is done with each new alert of a rule, besides listing it. */
export type Action =
  | { readonly kind: 'log' }
  | { readonly kind: 'metric' }
  | { readonly kind: 'pause' }
  | { readonly kind: 'stop' }
  /** Sends the alert to this webhook, instead of to all of them. */
  | { readonly kind: 'webhook'; readonly webhook: string }
  /** Starts a session that records what the container, or the process tree, does afterwards. */
  | {
      readonly kind: 'collect';
      readonly trackers: readonly string[];
      readonly forMs: number;
      /** The session ends with so many events. */
      readonly events: number;
    }
  /** Sends a signal to the process of the event. */
  | { readonly kind: 'kill'; readonly signal: ActionSignal };

export type ActionDefinition = Action & RulePlace;
export type ActionKind = Action['kind'];

/** They change what runs on the machine, and need a server that was started with `--rule-actions`. */
export const responses: readonly ActionKind[] = ['kill', 'pause', 'stop'];

const kinds: readonly ActionKind[] = ['log', 'metric', 'webhook', 'collect', 'kill', 'pause', 'stop'];
const MAX_ACTIONS = 16;
const MAX_TRACKERS = 8;
const MAX_EVENTS = 100_000;

/** Reads the actions of a rule: words, or mappings of one word to its settings. Throws BAD_RULES with the place. */
export function readActions(file: ConfigFile, value: unknown, path: Path): readonly ActionDefinition[] {
  const list = file.list(value, path);
  if (list.length > MAX_ACTIONS)
    throw file.fail(path, `has ${list.length} entries; at most ${MAX_ACTIONS} are allowed`);
  const actions = file.each(list, (item, i) => readAction(file, item, [...path, i]));
  file.each(actions, (action, i) => {
    const before = actions.findIndex((other) => nameOf(other) === nameOf(action));
    if (before < i) throw file.fail(action.path, `${nameOf(action)} is there already, in actions[${before}]`);
  });
  return actions;
}

function readAction(file: ConfigFile, item: unknown, path: Path): ActionDefinition {
  if (typeof item !== 'object' || item === null) {
    const kind = file.oneOf(item, path, kinds);
    return { file, path, ...readSettings(file, kind, undefined, path) };
  }
  const [kind, ...more] = Object.keys(file.fields(item, path, kinds)) as ActionKind[];
  if (kind === undefined || more.length > 0)
    throw file.fail(path, `is to be one action; write a list: [${[kind ?? 'log', ...more].join(', ')}]`);
  return { file, path, ...readSettings(file, kind, Reflect.get(item, kind), [...path, kind]) };
}

function readSettings(file: ConfigFile, kind: ActionKind, settings: unknown, path: Path): Action {
  switch (kind) {
    case 'webhook':
      return { kind, webhook: file.text(settings, path, '{ webhook: oncall }') };
    case 'kill':
      return { kind, signal: file.oneOf(settings ?? 'SIGKILL', path, actionSignals) };
    case 'collect':
      return readCollect(file, settings ?? {}, path);
    default:
      if (settings !== undefined && settings !== null) throw file.fail(path, `has no settings; write ${kind}`);
      return { kind };
  }
}

function readCollect(file: ConfigFile, settings: unknown, path: Path): Action {
  const given = file.fields(settings, path, ['trackers', 'for', 'events']);
  const trackers = file.list(given['trackers'] ?? ['exec', 'open', 'tcp'], [...path, 'trackers']);
  if (trackers.length === 0 || trackers.length > MAX_TRACKERS)
    throw file.fail([...path, 'trackers'], `has ${trackers.length} entries; give 1 to ${MAX_TRACKERS}`);
  const named = file.each(trackers, (tracker, i) => file.text(tracker, [...path, 'trackers', i], 'exec'));
  return {
    kind: 'collect',
    trackers: [...new Set(named)],
    forMs: file.duration(given['for'] ?? '1m', [...path, 'for'], 1000, 60_000),
    events: file.whole(given['events'] ?? 10_000, [...path, 'events'], 1, MAX_EVENTS),
  };
}

function nameOf(action: Action): string {
  return action.kind === 'webhook' ? `the webhook "${action.webhook}"` : action.kind;
}

/** The webhooks that an alert is sent to; null for all. */
export function webhooksOf(actions: readonly Action[]): readonly string[] | null {
  const named = actions.flatMap((action) => (action.kind === 'webhook' ? [action.webhook] : []));
  return named.length > 0 ? named : null;
}
