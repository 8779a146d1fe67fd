import { severities } from '../alerts/alert.js';
import type { ConfigFile, Path } from '../base/config-file.js';
import { suggest } from '../base/errors.js';
import { events } from './event.js';

/** Makes the document of a request, of what the body `eunomia` has. */
export type BodyTemplate = (facts: object) => unknown;

/** How a field stands in a text: as it is, as its items, or not at all. */
type Form = 'VALUE' | 'LIST' | 'OBJECT';

const ofAlert = [
  ...[
    'id',
    'severity',
    'title',
    'message',
    'source',
    'ruleName',
    'sessionId',
    'evidenceSessionId',
    'eventId',
    'tracker',
    'key',
  ],
  ...['raisedAt', 'time', 'lastAt', 'count', 'state'],
  ...['pid', 'ppid', 'uid', 'comm', 'startTime'].map((name) => `process.${name}`),
  ...['id', 'name', 'image'].map((name) => `container.${name}`),
];
const values = [
  ...['version', 'delivery', 'event', 'node.id', 'node.name'],
  ...ofAlert.map((name) => `alert.${name}`),
  ...['action', 'by', 'at', 'comment'].map((name) => `change.${name}`),
];
const lists = ['tags', 'attack', 'webhooks'].map((name) => `alert.${name}`);
const objects = ['node', 'alert', 'alert.process', 'alert.container', 'alert.evidence', 'alert.history', 'change'];

/** What a placeholder may name. */
export const placeholders: ReadonlyMap<string, Form> = new Map([
  ...values.map((name) => [name, 'VALUE'] as const),
  ...lists.map((name) => [name, 'LIST'] as const),
  ...objects.map((name) => [name, 'OBJECT'] as const),
]);

/** Of fields that have one of a few words. */
const words: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ['event', events],
  ['alert.severity', severities],
  ['alert.state', ['OPEN', 'ACKNOWLEDGED', 'RESOLVED']],
  ['change.action', ['ACKNOWLEDGED', 'RESOLVED', 'REOPENED', 'COMMENTED', 'ACTED']],
]);

const MAX_BYTES = 64 << 10;
const MAX_PLACEHOLDERS = 200;
/** Evidence has up to 64 KiB. */
const MAX_OBJECTS = 4;

type Words = ReadonlyMap<string, ReadonlyMap<string, unknown>>;

/**
 * Compiles the document of a body, in which texts have placeholders as "{{alert.title}}". What fills them becomes part of a value, never
 * of the document: nothing that an alert has can change its form. Throws the file's error, with the place in it.
 */
export function compileBody(file: ConfigFile, value: unknown, path: Path, replaced: Words): BodyTemplate {
  if (typeof value !== 'object' || value === null)
    throw file.fail(
      path,
      'is to be a mapping or a list, as the receiver takes it, for example { text: "{{alert.title}}" }',
    );
  const bytes = Buffer.byteLength(JSON.stringify(value));
  if (bytes > MAX_BYTES) throw file.fail(path, `has ${bytes} bytes; at most ${MAX_BYTES} are allowed`);
  const compiler = new Compiler(file, replaced);
  const template = compiler.document(value, path);
  if (compiler.names.length > MAX_PLACEHOLDERS)
    throw file.fail(path, `has ${compiler.names.length} placeholders; at most ${MAX_PLACEHOLDERS} are allowed`);
  const whole = compiler.names.filter((name) => placeholders.get(name) === 'OBJECT');
  if (whole.length > MAX_OBJECTS)
    throw file.fail(path, `has ${whole.length} placeholders that are objects; at most ${MAX_OBJECTS} are allowed`);
  return template;
}

/** Reads which words of fields are replaced by others. Throws the file's error, with the place in it. */
export function readWords(file: ConfigFile, value: unknown, path: Path): Words {
  if (value == null) return new Map();
  const fields = file.fields(value, path, [...words.keys()]);
  return new Map(
    Object.entries(fields).map(([field, given]) => {
      const at = [...path, field];
      const known = words.get(field) ?? [];
      const to = Object.entries(file.fields(given, at, known));
      for (const [word, other] of to)
        if (!['string', 'number', 'boolean'].includes(typeof other))
          throw file.fail([...at, word], 'is to be a text, a number, true or false');
        else if (String(other).includes('{{'))
          throw file.fail([...at, word], 'is taken as it is: it has no placeholders');
      return [field, new Map(to)] as const;
    }),
  );
}

class Compiler {
  /** All that placeholders name. */
  readonly names: string[] = [];
  readonly #file: ConfigFile;
  readonly #words: Words;

  constructor(file: ConfigFile, replaced: Words) {
    this.#file = file;
    this.#words = replaced;
  }

  document(value: unknown, path: Path): BodyTemplate {
    if (typeof value === 'string') return this.#text(value, path);
    if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value))
      throw this.#file.fail(path, 'is a number that JSON’s readers round: write it as a text, in quotes');
    if (typeof value !== 'object' || value === null) return () => value;
    if (Array.isArray(value)) {
      const items = this.#file.each(value, (item: unknown, i) => this.document(item, [...path, i]));
      return (facts) => items.map((item) => item(facts));
    }
    const entries = this.#file.each(Object.entries(value), ([key, item]: [string, unknown]) => {
      if (key.includes('{{')) throw this.#file.failKey([...path, key], 'is a key, which has no placeholders');
      return [key, this.document(item, [...path, key])] as const;
    });
    return (facts) => Object.fromEntries(entries.map(([key, item]) => [key, item(facts)]));
  }

  #text(text: string, path: Path): BodyTemplate {
    const parts = text.split(/(\{\{.*?\}\})/s).filter((part) => part !== '');
    const isAlone = parts.length === 1;
    const made = this.#file.each(parts, (part): BodyTemplate => {
      if (part.startsWith('{{') && part.endsWith('}}')) return this.#placeholder(part.slice(2, -2), isAlone, path);
      if (part.includes('{{')) throw this.#file.fail(path, `has {{ without }}: ${JSON.stringify(part.slice(0, 40))}`);
      return () => part;
    });
    const [only] = made;
    return isAlone && only ? only : (facts) => made.map((part) => textOf(part(facts))).join('');
  }

  #placeholder(written: string, isAlone: boolean, path: Path): BodyTemplate {
    const readers = written.split('|').map((part) => {
      const name = part.trim();
      const form = placeholders.get(name);
      if (form === undefined)
        throw this.#file.fail(path, `there is no field "${name.slice(0, 64)}"${suggest(name, placeholders.keys())}`);
      if (form === 'OBJECT' && !isAlone)
        throw this.#file.fail(path, `{{${name}}} is an object, and stands alone: it is no part of a text`);
      this.names.push(name);
      return readerOf(name, this.#words.get(name));
    });
    return (facts) => {
      for (const read of readers) {
        const value = read(facts);
        if (value !== null) return value;
      }
      return null;
    };
  }
}

/** Null for what is not there. */
function readerOf(name: string, replaced: ReadonlyMap<string, unknown> | undefined): BodyTemplate {
  const parts = name.split('.');
  return (facts) => {
    let value: unknown = facts;
    for (const part of parts)
      value = typeof value === 'object' && value !== null ? (Reflect.get(value, part) as unknown) : null;
    return replaced?.get(String(value)) ?? value ?? null;
  };
}

function textOf(value: unknown): string {
  if (value === null) return '';
  return Array.isArray(value) ? value.join(', ') : String(value);
}
