import { and, cel, celOfList, FALSE, lost, not, noted, or, TRUE, type CelTree } from './expression.js';
import type { ResolvedCheck, ListedValue } from './resolve.js';

/** A text of ours that stands for one of Falco's: how it is compared. */
export interface Text {
  /** Whether there is one. */
  readonly exists: CelTree;
  eq(value: string): CelTree;
  prefix(value: string): CelTree;
  suffix(value: string): CelTree;
  contains(value: string): CelTree;
  /** An expression of RE2, anywhere in the text unless it has anchors. */
  matches(pattern: string): CelTree;
  /** A glob of ours; by default it becomes an expression. */
  glob?(pattern: string): CelTree;
  /** One of several values; by default each of them is compared. */
  among?(values: readonly ListedValue[]): CelTree;
}

/** The limits of the filter language on one pattern (src/filter/pattern.ts), with room for what stands around the alternatives. */
const PATTERN_CHARACTERS = 400;
const PATTERN_LITERALS = 220;

/** What Falco writes where it knows nothing. */
const UNKNOWN: ReadonlySet<string> = new Set(['<NA>', 'N/A']);

/** Compares a text as the check says. */
export function compareText(text: Text, check: ResolvedCheck): CelTree {
  const [transformer, ...more] = check.field.transformers;
  if (more.length) return lost(check.text, 'several functions of one field have no counterpart');
  if (transformer === 'basename') return operate(lastPart(text), check);
  if (transformer === 'tolower' || transformer === 'toupper') return operate(ignoringCase(text, transformer), check);
  if (transformer !== undefined) return lost(check.text, `there is no counterpart of ${transformer}()`);
  return operate(text, check);
}

function operate(text: Text, { op, values, text: written }: ResolvedCheck): CelTree {
  const each = (compare: (value: string) => CelTree): CelTree => or(values.map(({ text: value }) => compare(value)));
  switch (op) {
    case 'exists':
      return text.exists;
    case '=':
    case '==':
      return each((value) => text.eq(value));
    case '!=':
      return and([text.exists, not(each((value) => text.eq(value)))]);
    case 'in':
    case 'intersects':
      return text.among ? text.among(values) : each((value) => text.eq(value));
    case 'pmatch':
      return each((value) => or([text.eq(value), text.prefix(value.endsWith('/') ? value : `${value}/`)]));
    case 'contains':
      return each((value) => (value === '' ? text.exists : text.contains(value)));
    case 'startswith':
      return each((value) => (value === '' ? text.exists : text.prefix(value)));
    case 'endswith':
      return each((value) => (value === '' ? text.exists : text.suffix(value)));
    case 'icontains':
      return each((value) => text.matches(`(?i)${quoted(value)}`));
    case 'glob':
      return each((value) => ofGlob(text, value));
    case 'iglob':
      return each((value) => text.matches(`(?is)^${globPattern(value)}$`));
    case 'regex':
      return each((value) => text.matches(`^(?:${value})$`));
    default:
      return lost(written, `"${op}" does not apply to a text`);
  }
}

/** As a literal of RE2. */
export function quoted(text: string): string {
  return text.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&');
}

/** A glob of one "*" at an end, or two around, is a plain comparison. */
function ofGlob(text: Text, glob: string): CelTree {
  const [, before = '', middle = '', after = ''] = /^(\*?)([^*?[\\]+)(\*?)$/.exec(glob) ?? [];
  if (middle !== '')
    return before
      ? after
        ? text.contains(middle)
        : text.suffix(middle)
      : after
        ? text.prefix(middle)
        : text.eq(middle);
  // Ours has braces besides.
  return text.glob ? text.glob(glob.replace(/[{}]/g, '\\$&')) : text.matches(`(?s)^${globPattern(glob)}$`);
}

function globPattern(glob: string): string {
  return glob.replace(/\\(.)|\*|\?|\[[!^]?\]?[^\]]*\]|[^*?[\\]+|[[\\]/gs, (part, escaped: string | undefined) => {
    if (part === '*') return '.*';
    if (part === '?') return '.';
    if (escaped !== undefined) return quoted(escaped);
    if (part.length > 2 && part.startsWith('[')) return `[${part.slice(1, -1).replace(/^!/, '^')}]`;
    return quoted(part);
  });
}

/** A pattern for several alternatives, in as few patterns as the limits allow. */
export function alternatives(values: readonly string[], match: (alternative: string) => CelTree): CelTree {
  const groups: string[][] = [];
  let literals = Infinity;
  let characters = Infinity;
  for (const value of values) {
    const pattern = quoted(value);
    literals += value.length + 1;
    characters += pattern.length + 1;
    if (literals > PATTERN_LITERALS || characters > PATTERN_CHARACTERS) {
      groups.push([]);
      [literals, characters] = [value.length, pattern.length];
    }
    groups.at(-1)?.push(pattern);
  }
  return or(groups.map((group) => match(group.length > 1 ? `(?:${group.join('|')})` : (group[0] ?? ''))));
}

function constantOf(text: string): string {
  return JSON.stringify(text);
}

export interface PlainField {
  /** What Falco's value is here, where it is written otherwise. */
  readonly value?: (value: string) => string;
  /** Other forms of the same value. */
  readonly forms?: (value: string) => readonly string[];
  /** Whether ours is never null. */
  readonly always?: boolean;
}

/** A field of ours that is a text. */
export function plain(path: string, { value: mapped, forms, always = false }: PlainField = {}): Text {
  const known = (value: string): readonly string[] => {
    const own = mapped ? mapped(value) : value;
    return [own, ...(forms?.(own) ?? [])];
  };
  const any = (values: readonly string[], method: string): CelTree =>
    or(values.map((value) => cel(`${path}.${method}(${constantOf(value)})`)));
  const equal = (values: readonly string[]): CelTree => {
    const [only] = values;
    if (only === undefined) return FALSE;
    return values.length === 1
      ? cel(`${path} == ${constantOf(only)}`)
      : cel(`${path} in [${values.map(constantOf).join(', ')}]`);
  };
  const unknown = always ? FALSE : cel(`${path} == null`);
  return {
    exists: always ? TRUE : cel(`${path} != null`),
    eq: (value) => (UNKNOWN.has(value) ? unknown : equal(known(value))),
    among: (values) => {
      const bare = values.filter(({ text, list }) => !UNKNOWN.has(text) && (list === null || mapped !== undefined));
      const lists = [...new Set(values.flatMap(({ list }) => (list !== null && !mapped ? [list] : [])))];
      // Of the items of a list that stays a list, the other forms.
      const further = values.flatMap(({ text, list }) => (list !== null && !mapped ? known(text).slice(1) : []));
      return or([
        ...lists.map((list) => celOfList(list, (name) => `${path} in ${name}`)),
        equal([...new Set([...bare.flatMap(({ text }) => known(text)), ...further])]),
        values.some(({ text, list }) => list === null && UNKNOWN.has(text)) ? unknown : FALSE,
      ]);
    },
    prefix: (value) => any(known(value), 'startsWith'),
    suffix: (value) => any([mapped ? mapped(value) : value], 'endsWith'),
    contains: (value) => any([mapped ? mapped(value) : value], 'contains'),
    glob: (pattern) => any(known(pattern), 'glob'),
    matches: (pattern) => cel(`${path}.matches(${constantOf(pattern)})`),
  };
}

/** Paths that lead elsewhere by a symbolic link on today's systems: the kernel's own record of an opened file has the right one. */
const LINKS: readonly (readonly [string, string])[] = [
  ['/var/run', '/run'],
  ['/var/lock', '/run/lock'],
  ['/bin', '/usr/bin'],
  ['/sbin', '/usr/sbin'],
  ['/lib', '/usr/lib'],
  ['/lib64', '/usr/lib64'],
];

export function linkForms(path: string): readonly string[] {
  return LINKS.flatMap(([from, to]) =>
    path === from || path.startsWith(`${from}/`) ? [to + path.slice(from.length)] : [],
  );
}

function split(path: string): readonly [directory: string, name: string] {
  const slash = path.lastIndexOf('/');
  return [slash <= 0 ? '/' : path.slice(0, slash), path.slice(slash + 1)];
}

/** A path as the caller passed it: where it is relative, the directory is beside it. */
export function passed(path: string, directory: string): Text {
  const [own, start] = [plain(path), plain(directory)];
  const relative = (value: string, name: (rest: string) => CelTree): CelTree => {
    if (!value.startsWith('/') || value === '/') return FALSE;
    const [folder, rest] = split(value);
    return and([start.eq(folder), rest === '' ? TRUE : name(rest)]);
  };
  const eq = (value: string): CelTree => or([own.eq(value), relative(value, (rest) => own.eq(rest))]);
  return {
    exists: own.exists,
    eq,
    among: (values) => {
      const folders = new Map<string, ListedValue[]>();
      for (const { text } of values) {
        const [folder, rest] = split(text);
        if (text.startsWith('/') && rest !== '')
          folders.set(folder, [...(folders.get(folder) ?? []), { text: rest, list: null }]);
      }
      return or([
        own.among?.(values) ?? FALSE,
        ...[...folders].map(([folder, rests]) => and([start.eq(folder), own.among?.(rests) ?? FALSE])),
      ]);
    },
    prefix: (value) =>
      or([
        own.prefix(value),
        relative(value, (rest) => own.prefix(rest)),
        value.startsWith('/') ? start.prefix(value) : FALSE,
      ]),
    suffix: (value) => {
      const [folder, rest] = split(value);
      const below =
        value.startsWith('/') && rest !== ''
          ? and([own.eq(rest), folder === '/' ? TRUE : start.suffix(folder)])
          : FALSE;
      return or([own.suffix(value), below]);
    },
    contains: (value) => or([own.contains(value), start.contains(value)]),
    matches: (pattern) =>
      noted(own.matches(pattern), `a pattern is compared with ${path} as it was passed, which may be relative`),
  };
}

/** The last part of a path. */
export function lastPart(text: Text): Text {
  const any = (values: readonly string[], before: string, after: string): CelTree =>
    alternatives(values, (alternative) => text.matches(`${before}${alternative}${after}`));
  return {
    exists: text.exists,
    eq: (value) => or([text.suffix(`/${value}`), text.eq(value)]),
    among: (values) =>
      any(
        values.map(({ text: value }) => value),
        '(?:^|/)',
        '$',
      ),
    prefix: (value) => text.matches(`(?:^|/)${quoted(value)}[^/]*$`),
    suffix: (value) => text.suffix(value),
    contains: (value) => text.matches(`${quoted(value)}[^/]*$`),
    matches: (pattern) => text.matches(`(?:^|/)${pattern.startsWith('^') ? pattern.slice(1) : `[^/]*${pattern}`}`),
  };
}

/** The path without its last part. */
export function folderOf(text: Text, forms: (value: string) => readonly string[] = () => []): Text {
  const below = (folder: string): string => (folder === '/' ? '' : folder.replace(/\/$/, ''));
  const among = (values: readonly string[]): CelTree =>
    alternatives(
      values.flatMap((value) => [below(value), ...forms(below(value))]),
      (alternative) => text.matches(`^${alternative}/[^/]+$`),
    );
  return {
    exists: text.exists,
    eq: (value) => among([value]),
    among: (values) => among(values.map(({ text: value }) => value)),
    prefix: (value) =>
      value.endsWith('/')
        ? or([value, ...forms(value)].map((one) => text.matches(`^${quoted(one)}.*/`)))
        : or([value, ...forms(value)].map((one) => text.matches(`^${quoted(one)}.*/[^/]*$`))),
    suffix: (value) => text.matches(`${quoted(value)}/[^/]+$`),
    contains: (value) => text.matches(`${quoted(value)}.*/[^/]*$`),
    matches: (pattern) => text.matches(`${pattern.replace(/\$$/, '')}/[^/]*$`),
  };
}

/** A text whose letters are turned before they are compared. */
function ignoringCase(text: Text, transformer: 'tolower' | 'toupper'): Text {
  const turned = (value: string): boolean =>
    value === (transformer === 'tolower' ? value.toLowerCase() : value.toUpperCase());
  const match = (value: string, before: string, after: string): CelTree =>
    turned(value) ? text.matches(`(?i)${before}${quoted(value)}${after}`) : FALSE;
  return {
    exists: text.exists,
    eq: (value) => match(value, '^', '$'),
    among: (values) =>
      alternatives(
        values.flatMap(({ text: value }) => (turned(value) ? [value] : [])),
        (alternative) => text.matches(`(?i)^${alternative}$`),
      ),
    prefix: (value) => match(value, '^', ''),
    suffix: (value) => match(value, '', '$'),
    contains: (value) => match(value, '', ''),
    matches: (pattern) => text.matches(`(?i)${pattern}`),
  };
}

/** Where Falco's text is one of a few that are known, each with what is so then. */
export function oneOf(known: Readonly<Record<string, CelTree>>): Text {
  const those = (accepts: (name: string) => boolean): CelTree =>
    or(Object.entries(known).flatMap(([name, expression]) => (accepts(name) ? [expression] : [])));
  return {
    exists: those(() => true),
    eq: (value) => known[value] ?? FALSE,
    prefix: (value) => those((name) => name.startsWith(value)),
    suffix: (value) => those((name) => name.endsWith(value)),
    contains: (value) => those((name) => name.includes(value)),
    matches: (pattern) => {
      const [, flags = '', source = pattern] = /^\(\?([is]+)\)(.*)$/s.exec(pattern) ?? [];
      try {
        const compiled = new RegExp(source, `${flags}u`);
        return those((name) => compiled.test(name));
      } catch {
        return lost(pattern, 'is no regular expression that is understood here');
      }
    },
  };
}

/** A list of names that Falco writes as one text, with a separator: flags, capabilities. */
export function names(path: string, separator: string | RegExp): Text {
  const some = (write: (element: string) => string): CelTree => cel(`${path}.exists(x, ${write('x')})`);
  const all = (value: string): CelTree => {
    const parts = value.split(separator).filter((part) => part !== '');
    return and([
      cel(`size(${path}) == ${parts.length}`),
      ...parts.map((part) => cel(`${constantOf(part)} in ${path}`)),
    ]);
  };
  const containing = (value: string): CelTree =>
    and(value.split(separator).flatMap((part) => (part ? [some((x) => `${x}.contains(${constantOf(part)})`)] : [])));
  return {
    exists: cel(`size(${path}) > 0`),
    eq: all,
    prefix: (value) => noted(containing(value), `the order of ${path} is not compared`),
    suffix: (value) => noted(containing(value), `the order of ${path} is not compared`),
    contains: containing,
    matches: (pattern) => some((x) => `${x}.matches(${constantOf(pattern)})`),
  };
}
