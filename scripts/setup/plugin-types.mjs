// schema.graphql → the types of events as plugins get them: plain data, with nothing of the server's own types behind it, so that
// dist/plugin.d.ts and this file alone are what an editor needs.
import {
  buildSchema,
  getNamedType,
  isEnumType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
} from 'graphql';

/** 64-bit integers are decimal strings in an event. */
const scalars = { Boolean: 'boolean', Int: 'number', UInt32: 'number', Float: 'number', JSON: 'unknown' };

/** Which event it is: as `dataFields` of src/event/data-field.ts has it. */
const IDENTITY = new Set(['id', 'cursor', 'session', 'values']);
/** What is known of a process beside its events, as GRAPH there has it: src/plugins/value.test.ts compares. */
const BESIDE = {
  Process: new Set(
    (
      'identity executable executableState executableDeleted args argsTruncated cwd cwdState cwdDeleted exitTime exitCode ' +
      'exitSignal user container parent ancestors children events openFiles sockets'
    ).split(' '),
  ),
};

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
    if (!isObjectType(type)) return 'unknown';
    const name = `Plugin${type.name}`;
    if (!nested.has(name)) {
      nested.set(name, '');
      nested.set(name, `${docOf(type.description, '')}export interface ${name} {\n${insideOf(type)}\n}\n`);
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
  const fieldOf = ({ name, description }, text) => `${docOf(description, '  ')}  readonly ${name}: ${text};`;
  const fieldsOf = (type) =>
    Object.values(type.getFields())
      .filter(({ name, args }) => name !== 'tracker' && !IDENTITY.has(name) && args.length === 0)
      .map((field) => fieldOf(field, typeText(field.type)))
      .join('\n');
  // A plugin reads single values, and labels, which it has by their names.
  const insideOf = (type) =>
    Object.values(type.getFields())
      .filter(({ name, args, type: of }) => {
        if (BESIDE[type.name]?.has(name) || args.length > 0) return false;
        return isLeafType(getNamedType(of)) || isLabels(of);
      })
      .map((field) =>
        isLabels(field.type)
          ? fieldOf(
              { name: field.name, description: 'Name of each label → its value.' },
              'Readonly<Record<string, string>>',
            )
          : fieldOf(field, typeText(field.type)),
      )
      .join('\n');
  const events = trackers.map((tracker) => {
    const type = Object.values(schema.getTypeMap()).find(
      (one) => isObjectType(one) && one.name.toLowerCase() === `${tracker.replaceAll('_', '').toLowerCase()}event`,
    );
    if (!type) throw new Error(`schema.graphql has no event type for the tracker ${tracker}`);
    return `  readonly ${tracker}: {\n${fieldsOf(getNamedType(type)).replaceAll(/^/gm, '  ')}\n  };`;
  });
  return `// Generated from schema.graphql.
${[...nested.values()].join('\n')}
/** What an event of each tracker has, as a plugin gets it. */
export interface PluginEvents {
${events.join('\n')}
}
`;
}

function isLabels(type) {
  return getNamedType(type).name === 'Label';
}

function docOf(description, indent) {
  if (!description) return '';
  const lines = description.replaceAll('*/', '* /').split('\n');
  return lines.length === 1
    ? `${indent}/** ${lines[0]} */\n`
    : `${indent}/**\n${lines.map((line) => `${indent} * ${line}\n`).join('')}${indent} */\n`;
}
