// schema.graphql → the types of events as plugins get them: plain data, with nothing of the server's own types behind it, so that
// dist/plugin.d.ts and this file alone are what an editor needs.
import { buildSchema, getNamedType, isEnumType, isListType, isNonNullType, isObjectType, isScalarType } from 'graphql';

/** 64-bit integers are decimal strings in an event. */
const scalars = { Boolean: 'boolean', Int: 'number', UInt32: 'number', Float: 'number', JSON: 'unknown' };
/** Written by hand in src/plugin.ts: labels by their names, and what is asked of an engine left out. */
const own = { Process: 'PluginProcess', Container: 'PluginContainer' };

/** The TypeScript text of `PluginEvents`, by tracker. */
export function pluginTypes(sdl) {
  const schema = buildSchema(sdl);
  const trackers = Object.values(schema.getType('TrackerInput').getFields()).map(({ name }) => name);
  const nested = new Map();
  const typeText = (type) => {
    if (!isNonNullType(type)) return `${typeTextOf(type)} | null`;
    return typeTextOf(type.ofType);
  };
  const typeTextOf = (type) => {
    if (isListType(type))
      return `readonly ${isNonNullType(type.ofType) ? typeText(type.ofType) : `(${typeText(type.ofType)})`}[]`;
    if (isScalarType(type)) return scalars[type.name] ?? 'string';
    if (isEnumType(type)) return type.getValues().length === 1 ? `'${type.getValues()[0].name}'` : enumOf(type);
    if (own[type.name]) return own[type.name];
    if (!isObjectType(type)) return 'unknown';
    const name = `Plugin${type.name}`;
    if (!nested.has(name)) {
      nested.set(name, '');
      nested.set(name, `export interface ${name} {\n${fieldsOf(type)}\n}\n`);
    }
    return name;
  };
  const enumOf = (type) => {
    if (!nested.has(type.name))
      nested.set(
        type.name,
        `export type ${type.name} = ${type
          .getValues()
          .map(({ name }) => `'${name}'`)
          .join(' | ')};\n`,
      );
    return type.name;
  };
  const fieldsOf = (type) =>
    Object.values(type.getFields())
      .filter(({ name, args }) => name !== 'tracker' && args.length === 0)
      .map(({ name, type: of, description }) => `${docOf(description)}  readonly ${name}: ${typeText(of)};`)
      .join('\n');
  const events = trackers.map((tracker) => {
    const type = Object.values(schema.getTypeMap()).find(
      (one) => isObjectType(one) && one.name.toLowerCase() === `${tracker.replaceAll('_', '').toLowerCase()}event`,
    );
    if (!type) throw new Error(`schema.graphql has no event type for the tracker ${tracker}`);
    return `  readonly ${tracker}: {\n${fieldsOf(getNamedType(type)).replaceAll(/^/gm, '  ')}\n  };`;
  });
  return `// Generated from schema.graphql.
import type { PluginContainer, PluginProcess } from '../plugin.js';

${[...nested.values()].join('\n')}
/** What an event of each tracker has, as a plugin gets it. */
export interface PluginEvents {
${events.join('\n')}
}
`;
}

function docOf(description) {
  if (!description) return '';
  const lines = description.replaceAll('*/', '* /').split('\n');
  return lines.length === 1
    ? `  /** ${lines[0]} */\n`
    : `  /**\n${lines.map((line) => `   * ${line}\n`).join('')}   */\n`;
}
