import { EunomiaError, suggest } from '../../base/errors.js';
import type { Tool } from './tool.js';

/** As far as tools describe their arguments; which of several texts are right, the command says. */
interface Property {
  readonly type: 'string' | 'boolean' | 'array' | 'object';
}

/** What an agent may give for each type: models write numbers for texts, and a text for a list of one. */
const types: Readonly<Record<Property['type'], { readonly right: string; takes(value: unknown): boolean }>> = {
  string: { right: 'a text', takes: isText },
  boolean: { right: 'true or false', takes: (value) => [true, false, 'true', 'false'].some((one) => one === value) },
  array: { right: 'a list of texts', takes: (value) => isText(value) || (Array.isArray(value) && value.every(isText)) },
  object: { right: 'an object', takes: (value) => typeof value === 'object' && !Array.isArray(value) },
};

/** Arguments of a tool that are given; null is none. Throws BAD_USER_INPUT for those that it does not have, or that are of other types. */
export function checkArguments(
  { name: tool, inputSchema }: Pick<Tool, 'name' | 'inputSchema'>,
  args: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const properties = new Map(Object.entries(inputSchema.properties as Readonly<Record<string, Property>>));
  const given = Object.entries(args).filter(([, value]) => value !== null && value !== undefined);
  for (const [name, value] of given) {
    const property = properties.get(name);
    if (!property)
      throw wrong(`${tool} has no argument "${name.slice(0, 100)}"${nearest(name, [...properties.keys()])}`);
    const { right, takes } = types[property.type];
    if (!takes(value)) throw wrong(`${tool}: "${name}" is to be ${right}, not ${shown(value)}`);
  }
  const missing = inputSchema.required.find((name) => !given.some(([each, value]) => each === name && !isEmpty(value)));
  if (missing !== undefined) throw wrong(`${tool}: missing required argument '${missing}'`);
  return Object.fromEntries(given);
}

function isText(value: unknown): boolean {
  return typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value));
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function nearest(name: string, known: readonly string[]): string {
  return suggest(name, known) || (known.length > 0 ? `; it has ${known.join(', ')}` : '; it has none');
}

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

function wrong(message: string): EunomiaError {
  return new EunomiaError('BAD_USER_INPUT', message);
}
