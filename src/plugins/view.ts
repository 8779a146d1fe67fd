import { suggest } from '../base/errors.js';
import type { TraceEvent } from '../event/event.js';
import { idOfEvent } from '../record/place.js';
import { compileRow, textOf, valueOf } from './row.js';

/** What a plugin may read of the events of one tracker, and what it may not. */
export interface ReadPaths {
  /** Checked paths of single values, as in `PluginFacts.reads`. */
  readonly declared: readonly string[];
  /** All other paths that the tracker's events have. */
  readonly undeclared: readonly string[];
}

/** A TraceEvent as a trusted plugin gets it: the declared fields, as lazy as those of the event. */
export interface EventViewClass {
  new (event: TraceEvent): object;
  /** The event behind a view; null when the value is no view of this class. */
  eventOf(value: object): TraceEvent | null;
}

const groupOf = (path: string): string => path.slice(0, path.indexOf('.'));
const inside = (paths: readonly string[], group: string): string[] => [
  ...new Set(paths.filter((path) => path.startsWith(`${group}.`)).map((path) => path.split('.')[1] ?? '')),
];

/**
 * Compiles the class of views of a tracker's events. A field that the plugin did not declare is not captured for it, so reading
 * one throws, with the declaration that is missing, instead of returning a null that looks like a fact.
 */
export function compilePluginView(tracker: string, { declared, undeclared }: ReadPaths): EventViewClass {
  const own = (paths: readonly string[]): string[] => paths.filter((path) => !path.includes('.'));
  const groups = [...new Set([...declared, ...undeclared].filter((path) => path.includes('.')).map(groupOf))];
  const refusal = (path: string): string => `throw new TypeError(${JSON.stringify(undeclaredMessage(tracker, path))})`;
  const getter = (name: string, body: string): string => `get ${JSON.stringify(name)}() { ${body} }`;
  const classes: string[] = [];
  const getters = [
    ...own(declared).map((name) => getter(name, `return this.#e[${JSON.stringify(name)}]`)),
    ...own(undeclared).map((name) => getter(name, refusal(name))),
  ];
  for (const group of groups) {
    const may = inside(declared, group);
    if (may.length === 0) {
      getters.push(getter(group, refusal(group)));
      continue;
    }
    const not = inside(undeclared, group).filter((name) => !may.includes(name));
    classes.push(
      `class ${group}View { #v; constructor(value) { this.#v = value; }
      ${may.map((name) => getter(name, `return ${valueOf(group, name, 'this.#v')}`)).join('\n')}
      ${not.map((name) => getter(name, refusal(`${group}.${name}`))).join('\n')}
      toJSON() { return { ${may.map((name) => `${JSON.stringify(name)}: this[${JSON.stringify(name)}]`).join(', ')} }; } }`,
    );
    getters.push(
      getter(group, `const value = this.#e[${JSON.stringify(group)}]; return value && new ${group}View(value)`),
    );
  }
  // oxlint-disable-next-line no-new-func -- made of checked names, quoted
  const compiled: unknown = new Function(
    'row',
    'T',
    'I',
    `${classes.join('\n')}
    return class { #e; constructor(event) { this.#e = event; }
      get tracker() { return ${JSON.stringify(tracker)}; }
      get id() { return I(this.#e); }
      ${getters.join('\n')}
      toJSON() { return row(this.#e); }
      static eventOf(value) { return #e in value ? value.#e : null; } }`,
  )(compileRow(declared), textOf, idOfEvent);
  return compiled as EventViewClass;
}

/**
 * For tests of a plugin: refuses every name that is not declared, so that a misspelt one is found as well, and every declared one
 * that the recorded event lacks.
 */
export function strictView(
  view: object,
  tracker: string,
  { declared, undeclared }: ReadPaths,
  group: string | null = null,
): object {
  const names =
    group === null ? [...new Set(declared.map((path) => path.split('.')[0] ?? path))] : inside(declared, group);
  const known = new Set([...names, ...(group === null ? ['tracker', 'id'] : [])]);
  return new Proxy(view, {
    get(target, key) {
      if (key === 'toJSON') return () => JSON.parse(JSON.stringify(target)) as unknown; // private members are the target's
      if (typeof key === 'symbol') return Reflect.get(target, key, target);
      const path = group === null ? key : `${group}.${key}`;
      if (!known.has(key)) {
        const exists = undeclared.some((other) => other === path || other.startsWith(`${path}.`));
        throw new TypeError(
          exists
            ? undeclaredMessage(tracker, path)
            : `events of the tracker ${tracker} have no field "${path}"${suggest(key, [...known])}`,
        );
      }
      const value: unknown = Reflect.get(target, key, target);
      if (value === undefined)
        throw new TypeError(`the recorded ${tracker} event has no "${path}", which the plugin reads: record it too`);
      const isGroup = group === null && value !== null && inside(declared, key).length > 0 && typeof value === 'object';
      return isGroup ? strictView(value, tracker, { declared, undeclared }, key) : value;
    },
  });
}

function undeclaredMessage(tracker: string, path: string): string {
  return `the plugin reads "${path}" of the tracker ${tracker} and does not declare it: add it to reads.${tracker}`;
}
