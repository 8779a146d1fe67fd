// schema.graphql against that of the last release: what breaks clients must have been announced (docs/api.md).
//   npm run contract               says what has changed; `npm run lint` fails where the policy is not kept
//   npm run contract -- release    at a release: makes the schema of now the released one
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  DangerousChangeType,
  astFromValue,
  buildSchema,
  findBreakingChanges,
  findDangerousChanges,
  getNamedType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  isEnumType,
  parse,
  print,
  visit,
} from 'graphql';
import { root } from './setup/project.mjs';

const releasedFile = 'scripts/contract/released.graphql';
const versionFile = 'src/base/api-version.ts';
const HEADER = /^# API (\d+)\.(\d+)\b/;
const VERSION = /^(\d+)\.(\d+)$/;
/** What a deprecation says: since when, and what to use. */
const REASON = /^Since API (\d+)\.(\d+): \S/;

/** What of the schema in `current` does not keep the policy; empty if it does. */
export function contractProblems({ released, current, version, changelog }) {
  const before = buildSchema(released);
  const now = buildSchema(current);
  const [, oldMajor, oldMinor] = numbersOf(
    HEADER,
    released,
    `${releasedFile}: the first line is no "# API MAJOR.MINOR"`,
  );
  const [, major, minor] = numbersOf(VERSION, version, `API_VERSION is "${version}"; write MAJOR.MINOR`);
  const raised = major > oldMajor || (major === oldMajor && minor > oldMinor);
  const breaks = breaksOf(before, now);
  const problems = [];
  const announced = breakingEntries(changelog);
  for (const { where, what } of breaks) {
    if (!announced.some((entry) => entry.includes(`\`${where}\``) || entry.includes(`\`${where}(`)))
      problems.push(`${what} Name \`${where}\` behind "**Breaking:**" in CHANGELOG.md (Unreleased).`);
    if (oldMajor > 0 && !isDeprecated(before, where))
      problems.push(`${what} \`${where}\` was not deprecated in API ${oldMajor}.${oldMinor}: deprecate it first.`);
  }
  if (breaks.length > 0 && (oldMajor > 0 ? major <= oldMajor : !raised))
    problems.push(
      `API ${version} breaks clients of API ${oldMajor}.${oldMinor} (${breaks[0].what}): raise API_VERSION to ` +
        `${oldMajor > 0 ? `${oldMajor + 1}.0` : `0.${oldMinor + 1}`} (src/base/api-version.ts).`,
    );
  const added = breaksOf(now, before);
  if (breaks.length === 0 && added.length > 0 && !raised)
    problems.push(
      `API ${version} has what API ${oldMajor}.${oldMinor} has not (\`${added[0].where}\`): raise API_VERSION to ` +
        `${oldMajor}.${oldMinor + 1} (src/base/api-version.ts).`,
    );
  for (const { where, reason } of deprecations(now)) {
    if (!REASON.test(reason))
      problems.push(`\`${where}\` is deprecated because "${reason}": write "Since API MAJOR.MINOR: use …".`);
  }
  return problems;
}

/** `version`, or, where it is too low for what has changed since the release, the lowest one that is not. */
export function raisedVersion({ released, current, version }) {
  const { breaking, added } = changesOf(released, current);
  const [, oldMajor, oldMinor] = numbersOf(
    HEADER,
    released,
    `${releasedFile}: the first line is no "# API MAJOR.MINOR"`,
  );
  const [, major, minor] = numbersOf(VERSION, version, `API_VERSION is "${version}"; write MAJOR.MINOR`);
  const [leastMajor, leastMinor] =
    breaking.length > 0 && oldMajor > 0
      ? [oldMajor + 1, 0]
      : [oldMajor, breaking.length + added.length > 0 ? oldMinor + 1 : oldMinor];
  return major > leastMajor || (major === leastMajor && minor >= leastMinor) ? version : `${leastMajor}.${leastMinor}`;
}

/** Raises API_VERSION of the source where the contract needs it. Returns the new version, null where it stays. */
export function raiseVersionOfSource() {
  const version = versionOfSource();
  const raised = raisedVersion({ released: read(releasedFile), current: read('schema.graphql'), version });
  if (raised === version) return null;
  writeFileSync(
    join(root, versionFile),
    read(versionFile).replace(`API_VERSION = '${version}'`, `API_VERSION = '${raised}'`),
  );
  return raised;
}

/** What a release changes for clients: what breaks them, a sentence each, and where something is new. */
export function changesOf(released, current) {
  const [before, now] = [buildSchema(released), buildSchema(current)];
  const breaks = breaksOf(before, now);
  // What has changed looks like a break from both sides.
  const changed = new Set(breaks.map(({ where }) => where));
  const added = breaksOf(now, before).filter(({ where }) => !changed.has(where));
  return { breaking: breaks.map(({ what }) => what), added: [...new Set(added.map(({ where }) => where))] };
}

/** What breaks a client of the schema `before`: where, and what has happened, a sentence. */
function breaksOf(before, now) {
  const found = [
    ...findBreakingChanges(before, now),
    // A client that leaves the argument out gets something else.
    ...findDangerousChanges(before, now).filter(({ type }) => type === DangerousChangeType.ARG_DEFAULT_VALUE_CHANGE),
  ].map(({ description }) => ({ where: placeOf(description), what: description }));
  return [...found, ...inputDefaults(before, now)];
}

/** graphql-js names the place in a sentence. */
function placeOf(description) {
  const [, value, type] = /^(\w+) was (?:removed from|added to) (?:enum|union) type (\w+)/.exec(description) ?? [];
  if (value !== undefined) return `${type}.${value}`;
  const [, field] = /required (?:field|arg) (\w+) on (?:input type )?/.exec(description) ?? [];
  const [, owner] = / on (?:input type )?([\w.]+)/.exec(description) ?? [];
  if (field !== undefined && owner !== undefined)
    return description.includes('input type') ? `${owner}.${field}` : owner;
  const [place = description] = /^@?[A-Za-z_][\w.]*/.exec(description) ?? [];
  return place;
}

/** Defaults of fields of inputs that have changed: graphql-js looks at those of arguments alone. */
function inputDefaults(before, now) {
  const text = ({ defaultValue, type }) => {
    const literal = defaultValue === undefined ? null : astFromValue(defaultValue, type);
    return literal ? print(literal) : 'none';
  };
  return Object.values(before.getTypeMap())
    .filter(isInputObjectType)
    .flatMap((type) => {
      const after = now.getType(type.name);
      if (!isInputObjectType(after)) return [];
      return Object.values(type.getFields()).flatMap((field) => {
        const then = after.getFields()[field.name];
        const where = `${type.name}.${field.name}`;
        if (!then || text(field) === text(then)) return [];
        return [{ where, what: `${where} has changed its default from ${text(field)} to ${text(then)}.` }];
      });
    });
}

/** All that is deprecated. */
function deprecations(schema) {
  return Object.values(schema.getTypeMap()).flatMap((type) => {
    const members = isEnumType(type)
      ? type.getValues()
      : isObjectType(type) || isInterfaceType(type) || isInputObjectType(type)
        ? Object.values(type.getFields())
        : [];
    return members.flatMap(({ name, deprecationReason, args = [] }) => [
      ...(deprecationReason == null ? [] : [{ where: `${type.name}.${name}`, reason: deprecationReason }]),
      ...args
        .filter((arg) => arg.deprecationReason != null)
        .map((arg) => ({ where: `${type.name}.${name}`, reason: arg.deprecationReason })),
    ]);
  });
}

/** Whether clients were told of it: it is deprecated itself, or, a type, all that refers to it is. */
function isDeprecated(schema, where) {
  const deprecated = new Set(deprecations(schema).map((one) => one.where));
  if (where.includes('.')) return deprecated.has(where);
  const references = Object.values(schema.getTypeMap())
    .filter((type) => isObjectType(type) || isInterfaceType(type) || isInputObjectType(type))
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter((field) => getNamedType(field.type).name === where)
        .map(({ name }) => `${type.name}.${name}`),
    );
  return references.every((reference) => deprecated.has(reference));
}

/** The parts of the changelog's entries for the next release that say what breaks. */
function breakingEntries(changelog) {
  const [, unreleased = ''] = /^## Unreleased\n([^]*?)(?=^## |(?![^]))/m.exec(changelog) ?? [];
  return unreleased
    .split(/\n(?=- )/)
    .filter((entry) => entry.includes('**Breaking:**'))
    .map((entry) => entry.slice(entry.indexOf('**Breaking:**')));
}

function numbersOf(pattern, text, otherwise) {
  const match = pattern.exec(text);
  if (!match) throw new Error(otherwise);
  return match.map(Number);
}

function read(path) {
  return readFileSync(join(root, path), 'utf8');
}

function versionOfSource() {
  return /API_VERSION = '([^']*)'/.exec(read(versionFile))?.[1] ?? '';
}

/** As `contractProblems`, of the files as they are. */
export function checkContract() {
  return contractProblems({
    released: read(releasedFile),
    current: read('schema.graphql'),
    version: versionOfSource(),
    changelog: read('CHANGELOG.md'),
  }).map((problem) => `schema.graphql: ${problem}`);
}

/** The schema as the next releases are compared with it: without descriptions. */
export function releasedText(schema, version) {
  const bare = visit(parse(schema, { noLocation: true }), { enter: (node) => ({ ...node, description: undefined }) });
  return `# API ${version}: schema.graphql of the last release, which \`npm run contract -- release\` wrote.\n\n${print(bare)}\n`;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === 'release') {
    writeFileSync(join(root, releasedFile), releasedText(read('schema.graphql'), versionOfSource()));
    process.stdout.write(`${releasedFile}: written\n`);
  } else {
    const { breaking, added } = changesOf(read(releasedFile), read('schema.graphql'));
    const say = (title, changes) => {
      process.stdout.write(`${title}: ${changes.length}\n${changes.map((text) => `  ${text}\n`).join('')}`);
    };
    say('breaking', breaking);
    say('new', added);
    const problems = checkContract();
    say('problems', problems);
    process.exitCode = problems.length > 0 ? 1 : 0;
  }
}
