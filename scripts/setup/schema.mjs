// schema/*.graphql and src/trackers/*.graphql → schema.graphql, the whole contract in one file.
// A tracker's file holds the fields, enums and options of its own. What can be derived is: the fields that all events have, its field of
// TrackerInput, its section of EventFilter, and filters for enums. What a tracker's file writes itself takes the place of the derived.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Kind, Source, parse, print as printNode } from 'graphql';
import { SetupError, filesUnder, root } from './project.mjs';

const baseFolder = 'schema';
const trackerFolder = 'src/trackers';
/** Files of the base that come first; the others follow by name. */
const leading = ['scalar', 'operation'];
/** The filter for a value of each scalar. */
const scalarFilters = {
  Boolean: 'BooleanFilter',
  DateTime: 'DateTimeFilter',
  Errno: 'ErrnoFilter',
  ID: 'StringFilter',
  Int: 'IntFilter',
  Int64: 'Int64Filter',
  String: 'StringFilter',
  UInt32: 'UInt32Filter',
  UInt64: 'UInt64Filter',
};
const width = 120;

const header = `# Eunomia's public contract. The description of each type, field and argument states its meaning, its unit and when it is
# null.
# The meaning of an id, a cursor or an enum value never changes.
# Assembled by \`npm run build\`: edit schema/*.graphql or src/trackers/*.graphql, not this file.`;

/** The hand-written files: those of the base, in the order of the contract, and one a tracker. */
export function readParts() {
  const read = (path) => ({ path, text: readFileSync(join(root, path), 'utf8') });
  const place = (path) => leading.indexOf(stemOf(path)) >>> 0; // -1 comes last
  const base = schemaFiles(baseFolder).sort((a, b) => place(a) - place(b)); // stable: by name as found
  return { base: base.map(read), trackers: schemaFiles(trackerFolder).map(read) };
}

/** The text of schema.graphql. Throws a SetupError that names file and line. */
export function assembleSchema({ base, trackers }) {
  const common = base.flatMap(definitionsOf);
  const known = new Map(common.map((definition) => [definition.name, definition]));
  const shared = need(known, 'TraceEvent');
  for (const name of ['TrackerInput', 'EventFilter']) need(known, name);

  const parts = trackers.map((file) => trackerPart(file, shared));
  checkOneType(parts, shared);
  const enums = new Map(
    [...common, ...parts.flatMap((part) => part.definitions)]
      .filter(isEnum)
      .map((definition) => [definition.name, definition]),
  );
  const filters = new Map(); // enum → whether a field of it may be null
  const written = new Set([...common, ...parts.flatMap((part) => part.definitions)].map(({ name }) => name));
  const filterOf = (field, file) => {
    const filter = leafFilter(field, file, enums);
    const name = namedType(field.type);
    if (filter && enums.has(name) && !written.has(filter))
      filters.set(name, filters.get(name) || field.type.kind !== Kind.NON_NULL_TYPE);
    return filter;
  };
  const sections = parts.map((part) => ({ ...part, filter: eventFilter(part, filterOf) }));

  const inserted = {
    TrackerInput: sections.map(({ name, pascal, options }) =>
      field(name, `${pascal}Options`, options.node.description.value),
    ),
    EventFilter: sections.map(({ name, pascal }) =>
      field(name, `${pascal}EventFilter`, `Conditions on events of the tracker ${name}. \`{}\` matches all of them.`),
    ),
  };
  const print = (definition) => {
    const text = inserted[definition.name] ? withFields(definition, inserted[definition.name]) : definition.text;
    return isEnum(definition) && filters.has(definition.name)
      ? [text, enumFilter(definition.name, filters.get(definition.name))]
      : [text];
  };
  const commonText = base.flatMap((file) => [
    `# ---- ${file.path} ----`,
    ...common.filter((definition) => definition.file === file).flatMap(print),
  ]);
  const trackerText = sections.flatMap((part) => [
    `# ---- ${part.file.path} ----`,
    ...part.definitions
      .filter((definition) => definition.name !== `${part.pascal}EventFilter`)
      .flatMap((definition) => (definition === part.event ? [eventType(part, shared)] : print(definition))),
    part.filter,
  ]);
  return `${[header, ...commonText, ...trackerText].join('\n\n')}\n`;
}

/** "net_flow" → "netFlow". */
export function camelCase(stem) {
  return stem.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}

/** "netFlow" → "NetFlow". */
export function pascalCase(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** A tracker's file, checked: its event, its options, and what else it has. */
function trackerPart(file, shared) {
  const stem = stemOf(file.path);
  if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(stem))
    throw new SetupError(
      `${file.path}: the name of a tracker has lower-case letters, digits and single underscores, as "net_flow"`,
    );
  const name = camelCase(stem);
  const pascal = pascalCase(name);
  const definitions = definitionsOf(file);
  const byName = new Map(definitions.map((definition) => [definition.name, definition]));
  const event = need(byName, `${pascal}Event`, file);
  const options = need(byName, `${pascal}Options`, file);
  if (!event.node.interfaces?.some((known) => known.name.value === shared.name))
    throw problem(file, event.node, `${event.name} must be a type that implements ${shared.name}`);
  if (options.node.kind !== Kind.INPUT_OBJECT_TYPE_DEFINITION)
    throw problem(file, options.node, `${options.name} must be an input`);
  const isShared = (own) => shared.node.fields.some((one) => one.name.value === own.name.value);
  return {
    file,
    name,
    pascal,
    definitions,
    event,
    options,
    own: event.node.fields.filter((one) => !isShared(one)),
    changed: event.node.fields.filter(isShared),
    filter: byName.get(`${pascal}EventFilter`),
  };
}

/**
 * Throws where two events have a field of one name and different types, or arguments: a query that asks for both is invalid
 * (OverlappingFieldsCanBeMerged; `Int` beside `Int!` is, too), so that nobody could ask for all fields.
 */
function checkOneType(parts, shared) {
  const first = new Map();
  const common = shared.node.fields.map((of) => ({ of, event: shared.name, file: shared.file }));
  const own = parts.flatMap(({ event, file }) => event.node.fields.map((of) => ({ of, event: event.name, file })));
  for (const { of, event, file } of [...common, ...own]) {
    const name = of.name.value;
    const signature = signatureOf(of);
    const known = first.get(name);
    if (!known) first.set(name, { signature, where: `${event}.${name} (${file.path}:${lineOf(of)})` });
    else if (known.signature !== signature)
      throw problem(
        file,
        of,
        `${event}.${name} is ${signature}, and ${known.where} is ${known.signature}: fields of one name have one type in all events, ` +
          'so that a query can ask for all of them; let both be nullable, share a type, or give this one a name of its own',
      );
  }
}

/** A field's type, behind its arguments, where it has any. */
function signatureOf({ arguments: args, type }) {
  const bare = args.map((each) => printNode({ ...each, description: undefined, directives: [] })).sort();
  return `${bare.length ? `(${bare.join(', ')}): ` : ''}${printNode(type)}`;
}

/** The event with the fields that all events have. */
function eventType({ event, own, changed, file }, shared) {
  // GraphQL wants the interfaces of an interface named too.
  const inherited = (shared.node.interfaces ?? []).map((known) => ` & ${known.name.value}`).join('');
  const opening = event.text
    .slice(0, event.node.fields[0].loc.start - event.node.loc.start)
    .trimEnd()
    .replace(`implements ${shared.name}`, `$&${inherited}`);
  const first = shared.node.fields.map((one) => {
    const instead = changed.find((candidate) => candidate.name.value === one.name.value);
    return instead ? textOf(instead, file) : textOf(one, shared.file);
  });
  return block(opening, [...first, ...own.map((one) => textOf(one, file))]);
}

/** The filter for a tracker's events: one field for each of theirs that has a value of its own. */
function eventFilter({ file, name, event, own, pascal, filter }, filterOf) {
  const instead = new Map((filter?.node.fields ?? []).map((one) => [one.name.value, one]));
  const fields = own.flatMap((of) => {
    const description = firstSentence(of.description.value);
    const ours = instead.get(of.name.value);
    instead.delete(of.name.value);
    if (ours?.description) return [textOf(ours, file)];
    const type = ours ? namedType(ours.type) : filterOf(of, file);
    return type ? [field(of.name.value, type, description)] : [];
  });
  for (const stranger of instead.values())
    throw problem(file, stranger, `${event.name} has no field ${stranger.name.value} of its own`);
  const description =
    filter?.node.description?.value ??
    `Filter for events of the tracker ${name}; conditions are joined by AND. \`${event.name}\` describes when a field is null.`;
  return block(`${quoted(description)}input ${pascal}EventFilter {`, fields);
}

/** The name of the filter for a field; null for one without a single value (an object, or one with arguments). */
function leafFilter(of, file, enums) {
  const name = namedType(of.type);
  const nullable = of.type.kind === Kind.NON_NULL_TYPE ? of.type.type : of.type;
  if (nullable.kind === Kind.LIST_TYPE) {
    if (scalarFilters[name]) return 'StringListFilter';
  } else {
    if (enums.has(name)) return `${name}Filter`;
    if (scalarFilters[name]) return scalarFilters[name];
  }
  if (name === 'Float' || enums.has(name))
    throw problem(file, of, `nothing filters ${of.name.value}: there is no filter for its type`);
  return null;
}

function enumFilter(name, nullable) {
  const ofNull = nullable ? 'A null value matches only `isNull: true`.' : 'The value is never null.';
  const description = `Condition on a \`${name}\`. At least one comparison is required, and all given ones must hold. ${ofNull}`;
  const fields = [
    field('eq', name, 'Equal to this value.'),
    field('ne', name, 'Not equal to this value.'),
    field('in', `[${name}!]`, 'Equal to one of these values. Must not be empty.'),
  ];
  if (nullable) fields.push(field('isNull', 'Boolean', 'True: the value is null. False: it is not null.'));
  return block(`${quoted(description)}input ${name}Filter {`, fields);
}

function definitionsOf(file) {
  let document;
  try {
    document = parse(new Source(file.text, file.path));
  } catch (error) {
    throw new SetupError(`${file.path}:${error.locations?.[0]?.line ?? 1}: ${error.message}`);
  }
  return document.definitions.map((node) => {
    if (!node.kind.endsWith('TypeDefinition') && node.kind !== Kind.DIRECTIVE_DEFINITION)
      throw problem(file, node, 'only definitions of types have a place here');
    const derived = file.path.startsWith(`${trackerFolder}/`) && node.name.value.endsWith('EventFilter'); // its descriptions may be
    if (!node.description && !derived) throw problem(file, node, `${node.name.value} has no description`);
    for (const below of [...(node.fields ?? []), ...(node.values ?? [])]) {
      if (!below.description && !derived)
        throw problem(file, below, `${node.name.value}.${below.name.value} has no description`);
    }
    return { file, node, name: node.name.value, text: textOf(node, file) };
  });
}

function withFields(definition, fields) {
  const { node, text } = definition;
  return node.fields?.length ? block(text.replace(/\s*\}$/, ''), fields) : block(`${text} {`, fields);
}

function block(opening, fields) {
  return `${opening}\n${fields.map((one) => `  ${one}`).join('\n')}\n}`;
}

/** A field, as it stands behind an indentation of two. */
function field(name, type, description) {
  return `${quoted(description, '  ')}${name}: ${type}`;
}

/** A description and the line break behind it: on one line, or on lines of its own where it is long. */
function quoted(description, indent = '') {
  const text = description.replace(/\s+/g, ' ');
  if (text.length + indent.length + 6 <= width && !text.endsWith('"')) return `"""${text}"""\n${indent}`;
  const lines = [''];
  for (const word of text.split(' ')) {
    if (lines.at(-1) !== '' && lines.at(-1).length + 1 + word.length + indent.length > width) lines.push('');
    lines.push(lines.pop() + (lines.at(-1) === '' ? '' : ' ') + word);
  }
  return `"""\n${lines.map((line) => `${indent}${line}\n`).join('')}${indent}"""\n${indent}`;
}

function firstSentence(description) {
  const text = description.replace(/\s+/g, ' ');
  return /^.*?\.(?=\s+[A-Z`]|$)/.exec(text)?.[0] ?? text;
}

function textOf(node, file) {
  return file.text.slice(node.loc.start, node.loc.end);
}

function namedType(type) {
  return type.kind === Kind.NAMED_TYPE ? type.name.value : namedType(type.type);
}

function isEnum({ node }) {
  return node.kind === Kind.ENUM_TYPE_DEFINITION;
}

function need(definitions, name, file) {
  const found = definitions.get(name);
  if (!found) throw new SetupError(`${file ? file.path : `${baseFolder}/*.graphql`}: there is no ${name}`);
  return found;
}

function problem(file, node, what) {
  return new SetupError(`${file.path}:${lineOf(node)}: ${what}`);
}

function lineOf(node) {
  return (node.name ?? node).loc.startToken.line;
}

function stemOf(path) {
  return basename(path, '.graphql');
}

function schemaFiles(folder) {
  return filesUnder(folder, (name) => name.endsWith('.graphql'));
}
