import { and, cel, FALSE, noted, or, type CelTree } from './expression.js';
import { alternatives, plain, quoted, type Text } from './text.js';

/** Where the arguments of a process are, and its name. */
export interface Arguments {
  readonly list: string;
  readonly comm: string;
}

/** The first argument, up to the first space of the joined ones: a program's name has none. */
const FIRST = '^[^ ]*';
const OF_FIRST = 'the first argument (argv[0]) is searched too';

function joined({ list }: Arguments): string {
  return `${list}.join(" ")`;
}

/** Falco's arguments: those after the first, with spaces between them. */
export function laterArguments(of: Arguments): Text {
  const all = plain(joined(of));
  const after = (pattern: string): CelTree => all.matches(`${FIRST} ${pattern}`);
  return {
    exists: cel(`size(${of.list}) > 1`),
    eq: (value) => (value === '' ? cel(`size(${of.list}) == 1`) : after(`${quoted(value)}$`)),
    among: (values) =>
      alternatives(
        values.map(({ text }) => text),
        (alternative) => after(`${alternative}$`),
      ),
    prefix: (value) => after(quoted(value)),
    suffix: (value) => noted(all.suffix(value), OF_FIRST),
    contains: (value) => noted(all.contains(value), OF_FIRST),
    matches: (pattern) => matched(all, pattern, `${FIRST} `),
  };
}

/** Falco's command line: the name of the process, and the arguments after the first. */
export function commandLine(of: Arguments): Text {
  const [all, comm, rest] = [plain(joined(of)), plain(of.comm, { always: true }), laterArguments(of)];
  const named = (value: string, words: (rest: string) => CelTree, alone: (name: string) => CelTree): CelTree => {
    const space = value.indexOf(' ');
    return space < 0 ? alone(value) : and([comm.eq(value.slice(0, space)), words(value.slice(space + 1))]);
  };
  return {
    exists: all.exists,
    eq: (value) => named(value, rest.eq, (name) => and([comm.eq(name), cel(`size(${of.list}) == 1`)])),
    among: (values) => {
      const words = values.map(({ text }) => text);
      const names = [...new Set(words.map((text) => text.split(' ')[0] ?? ''))];
      return or(
        names.map((name) => {
          const tails = words.flatMap((text) => (text.startsWith(`${name} `) ? [text.slice(name.length + 1)] : []));
          const alone = words.includes(name) ? cel(`size(${of.list}) == 1`) : FALSE;
          const among = rest.among?.(tails.map((text) => ({ text, list: null }))) ?? FALSE;
          return and([comm.eq(name), or([alone, among])]);
        }),
      );
    },
    prefix: (value) => named(value, (words) => (words === '' ? rest.exists : rest.prefix(words)), comm.prefix),
    suffix: (value) =>
      or([value.includes(' ') ? FALSE : and([comm.suffix(value), cel(`size(${of.list}) == 1`)]), rest.suffix(value)]),
    contains: (value) => or([value.includes(' ') ? FALSE : comm.contains(value), rest.contains(value)]),
    matches: (pattern) =>
      noted(all.matches(pattern), 'in a pattern, the first argument (argv[0]) stands for the name of the process'),
  };
}

/** The first argument. */
export function firstArgument(of: Arguments): Text {
  const all = plain(joined(of));
  return {
    exists: cel(`size(${of.list}) > 0`),
    eq: (value) => all.matches(`^${quoted(value)}(?: |$)`),
    among: (values) =>
      alternatives(
        values.map(({ text }) => text),
        (alternative) => all.matches(`^${alternative}(?: |$)`),
      ),
    prefix: (value) => all.prefix(value),
    suffix: (value) => all.matches(`${FIRST}${quoted(value)}(?: |$)`),
    contains: (value) => all.matches(`${FIRST}${quoted(value)}`),
    matches: (pattern) =>
      all.matches(
        pattern.replace(
          /^(\(\?\w+\))?(\^)?(.*?)(\$)?$/s,
          (_, flags = '', start = '', source = '', end = '') =>
            `${flags}${start ? '^' : FIRST}${source}${end ? '(?: |$)' : ''}`,
        ),
      ),
  };
}

/** A pattern that begins at the first of the later arguments, or anywhere. */
function matched(all: Text, pattern: string, start: string): CelTree {
  const [, flags = '', anchored, source = ''] = /^(\(\?\w+\))?(\^)?(.*)$/s.exec(pattern) ?? [];
  return anchored ? all.matches(`${flags}${start}${source}`) : noted(all.matches(pattern), OF_FIRST);
}
