import { suggest } from '../base/errors.js';
import type { TrackerInfo } from './field.js';
import { UsageError } from './usage.js';

/** A tracker as it was asked for: its name and the text of its options. */
export interface TrackerRequest {
  readonly name: string;
  /** [name, value]; a missing value is a flag that is set, or one more value for the option before it. */
  readonly options: readonly (readonly [name: string, value: string | null])[];
}

/** "open:failedOnly=true", "open:failedOnly", "tcp:operations=CONNECT,CLOSE". */
export function parseTracker(text: string): TrackerRequest {
  const [name = '', ...rest] = text.split(':');
  const parts = rest.join(':').split(',').filter(Boolean);
  return { name, options: parts.map(parseOption) };
}

/** "open.failedOnly=true" of `--set`. */
export function parseSetting(text: string): TrackerRequest {
  const [, name, option] = /^([^.=]+)\.(.+)$/.exec(text) ?? [];
  if (name === undefined || option === undefined)
    throw new UsageError(`--set: ${JSON.stringify(text)} is not like open.failedOnly=true`);
  const [key, value] = parseOption(option);
  return {
    name,
    options: (value ?? '').split(',').map((part, i) => (i === 0 ? [key, value === null ? null : part] : [part, null])),
  };
}

function parseOption(text: string): readonly [string, string | null] {
  const [, name = text, value] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  return [name, value ?? null];
}

/** `StartSessionInput.trackers`. */
export function trackerInputs(
  requests: readonly TrackerRequest[],
  trackers: readonly TrackerInfo[],
): readonly Record<string, unknown>[] {
  for (const { name } of requests) {
    if (!trackers.some((tracker) => tracker.name === name))
      throw new UsageError(`--set: the tracker ${JSON.stringify(name)} is not among those to run`);
  }
  return trackers.map((tracker) => ({
    [tracker.name]: optionValues(
      tracker,
      requests.filter(({ name }) => name === tracker.name).flatMap(({ options }) => options),
    ),
  }));
}

function optionValues(tracker: TrackerInfo, options: TrackerRequest['options']): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  /** The list that values without a name belong to. */
  let list: { readonly items: unknown[]; readonly read: (text: string | null) => unknown } | null = null;
  for (const [name, text] of options) {
    const option = tracker.options.find((candidate) => candidate.name === name);
    if (!option) {
      if (list && text === null) {
        list.items.push(list.read(name));
        continue;
      }
      const names = tracker.options.map((candidate) => candidate.name);
      const hint = suggest(name, names) || (names.length ? `; there are ${names.join(', ')}` : '; it has none');
      throw new UsageError(`the tracker ${tracker.name} has no option ${JSON.stringify(name)}${hint}`);
    }
    const where = `${tracker.name}.${name}`;
    const element = /^\[([^\]!]+)/.exec(option.type.name)?.[1];
    const type = element ?? option.type.name.replace('!', '');
    const names = option.type.values?.map((value) => value.name) ?? null;
    const read = (given: string | null): unknown => scalar(where, { type, names }, given);
    if (element === undefined) {
      list = null;
      values[name] = read(text);
      continue;
    }
    const items: unknown[] = [...((values[name] as unknown[] | undefined) ?? []), read(text)];
    list = { items, read };
    values[name] = items;
  }
  return values;
}

/** `names`: those of the enumeration that the type is. */
function scalar(
  path: string,
  { type, names }: { readonly type: string; readonly names: readonly string[] | null },
  text: string | null,
): unknown {
  if (type === 'Boolean') {
    if (text === null || text === 'true') return true;
    if (text === 'false') return false;
    throw new UsageError(`${path}: ${JSON.stringify(text)} is neither true nor false`);
  }
  if (text === null || text === '') throw new UsageError(`${path}: it needs a value, as in ${path}=${type}`);
  if (names && !names.includes(text))
    throw new UsageError(
      `${path}: ${JSON.stringify(text)} is none of its values${suggest(text, names) || `; there are ${names.join(', ')}`}`,
    );
  if (type !== 'Int' && type !== 'Float') return text; // the server checks its own scalars
  const number = Number(text);
  if (Number.isFinite(number) && (type === 'Float' || Number.isInteger(number))) return number;
  throw new UsageError(`${path}: ${JSON.stringify(text)} is no ${type === 'Int' ? 'whole number' : 'number'}`);
}
