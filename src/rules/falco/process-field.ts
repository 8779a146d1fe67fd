import { formatDuration } from '../../base/duration.js';
import type { CallVariant } from './call.js';
import { commandLine, firstArgument, laterArguments, type Arguments } from './command-line.js';
import {
  text,
  number,
  compareNumber,
  compareFlag,
  integersOf,
  type ImportFacts,
  type Compare,
  type FieldRow,
} from './compare.js';
import { cel, FALSE, lost, noted, or, print, comparisonsIn, TRUE, type CelTree } from './expression.js';
import { compareText, names, plain, type Text } from './text.js';

/** Of a successful exec the event has the new program itself; of everything else the table of processes has it. */
export function own(variant: CallVariant): {
  readonly executable: string;
  readonly cwd: string;
  readonly arguments: Arguments;
} {
  const before = variant.tracker === 'exec' && variant.result === 'ok' ? '' : 'process.';
  return {
    executable: `${before}executable`,
    cwd: `${before}cwd`,
    arguments: { list: `${before}args`, comm: 'process.comm' },
  };
}

const PARENT: Arguments = { list: 'process.parent.args', comm: 'process.parent.comm' };

/** Falco's path of a memfd: "memfd:NAME", where the kernel's is "/memfd:NAME (deleted)". */
function executablePath(path: string): Text {
  const at = plain(path, { value: (value) => (value.startsWith('memfd:') ? `/${value}` : value) });
  return {
    ...at,
    eq: (value) =>
      value.startsWith('memfd:') ? or([at.eq(value), at.eq(`${value} (deleted)`)]) : plain(path).eq(value),
    among: (values) =>
      or([
        plain(path).among?.(values.filter(({ text: value }) => !value.startsWith('memfd:'))) ?? FALSE,
        ...values
          .filter(({ text: value }) => value.startsWith('memfd:'))
          .map(({ text: value }) => or([at.eq(value), at.eq(`${value} (deleted)`)])),
      ]),
  };
}

/** Falco's has a slash at its end. */
export function workingDirectory(path: string): Text {
  const at = plain(path);
  const bare = (value: string): string => (value.length > 1 ? value.replace(/\/$/, '') : value);
  return {
    ...at,
    eq: (value) => at.eq(bare(value)),
    among: (values) => at.among?.(values.map(({ text: value }) => ({ text: bare(value), list: null }))) ?? FALSE,
    prefix: (value) =>
      value.length > 1 && value.endsWith('/') ? or([at.eq(bare(value)), at.prefix(value)]) : at.prefix(value),
    suffix: (value) => at.suffix(bare(value)),
    contains: (value) =>
      value.length > 1 && value.endsWith('/') ? or([at.contains(value), at.suffix(bare(value))]) : at.contains(value),
  };
}

const INLINE = { list: (name: string) => name, macro: () => null };

/** A comparison that holds for some ancestor. */
function someAncestor(inside: CelTree): CelTree {
  if (inside.kind === 'constant') return inside.value ? cel('process.parent != null') : inside;
  if (inside.kind === 'lost') return inside;
  const parts = comparisonsIn(inside);
  return {
    kind: 'comparison',
    text: (list) => `process.ancestors.exists(p, ${print(inside, { ...INLINE, list })})`,
    lists: parts.flatMap(({ lists }) => lists),
    notes: parts.flatMap(({ notes }) => notes),
  };
}

/** What Falco has of the ancestors: without an argument any of them, [1] is the parent. */
function ancestors(self: Compare, parent: Compare, any: Compare): Compare {
  return (check, variant, facts) => {
    const { argument } = check.field;
    if (argument === '0') return self(check, variant, facts);
    if (argument === '1') return parent(check, variant, facts);
    const some = someAncestor(any(check, variant, facts));
    if (argument === null) return some;
    return /^\d+$/.test(argument)
      ? noted(some, `${check.field.name}[${argument}]: any ancestor counts, not that of level ${argument} alone`)
      : lost(check.text, 'the level of the ancestor is to be a number');
  };
}

const ANCESTOR: Arguments = { list: 'p.args', comm: 'p.comm' };
const NO_TTY = 'only the tracker exec knows of a terminal, and only of the standard input';
export const comm = text(() => plain('process.comm', { always: true }));
const parentComm = text(() => plain('process.parent.comm'));

export const processRows: readonly FieldRow[] = [
  { names: ['proc.name', 'thread.name', 'evt.arg.comm'], ours: '`process.comm`', compare: comm },
  { names: ['proc.pid'], ours: '`process.pid`', compare: number('process.pid') },
  { names: ['thread.tid'], ours: '`process.tid`', compare: number('process.tid') },
  { names: ['proc.ppid'], ours: '`process.ppid`', compare: number('process.ppid') },
  { names: ['proc.pname'], ours: '`process.parent.comm`: the process that started it', compare: parentComm },
  {
    names: ['proc.exe'],
    ours: 'the first of `args` (tracker exec) or `process.args`',
    compare: text((variant) => firstArgument(own(variant).arguments)),
  },
  { names: ['proc.pexe'], ours: 'the first of `process.parent.args`', compare: text(() => firstArgument(PARENT)) },
  {
    names: ['proc.exepath'],
    ours: '`executable` (tracker exec) or `process.executable`',
    compare: text((variant) => executablePath(own(variant).executable)),
  },
  {
    names: ['proc.pexepath'],
    ours: '`process.parent.executable`',
    compare: text(() => executablePath('process.parent.executable')),
  },
  {
    names: ['proc.args'],
    ours: '`args.join(" ")` or `process.args.join(" ")`, after the first',
    compare: text((variant) => laterArguments(own(variant).arguments)),
  },
  {
    names: ['proc.cmdline', 'proc.exeline'],
    ours: '`process.comm` and the arguments after the first',
    compare: text((variant) => commandLine(own(variant).arguments)),
  },
  {
    names: ['proc.pcmdline'],
    ours: '`process.parent.comm` and the later `process.parent.args`',
    compare: text(() => commandLine(PARENT)),
  },
  {
    names: ['proc.cmdnargs', 'proc.nargs'],
    ours: '`size(args) - 1`',
    compare: (check, variant) => compareNumber(`size(${own(variant).arguments.list})`, check, 1),
  },
  {
    names: ['proc.cwd'],
    ours: '`cwd` (tracker exec) or `process.cwd`, which is that of the last exec',
    compare: text((variant) => workingDirectory(own(variant).cwd)),
  },
  {
    names: ['proc.aname'],
    ours: '`process.ancestors`, `.comm`',
    compare: ancestors(
      comm,
      parentComm,
      text(() => plain('p.comm', { always: true })),
    ),
  },
  {
    names: ['proc.apid'],
    ours: '`process.ancestors`, `.pid`',
    compare: ancestors(number('process.pid'), number('process.parent.pid'), number('p.pid')),
  },
  {
    names: ['proc.aexe'],
    ours: '`process.ancestors`, the first of `.args`',
    compare: ancestors(
      text((variant) => firstArgument(own(variant).arguments)),
      text(() => firstArgument(PARENT)),
      text(() => firstArgument(ANCESTOR)),
    ),
  },
  {
    names: ['proc.aexepath'],
    ours: '`process.ancestors`, `.executable`',
    compare: ancestors(
      text((variant) => executablePath(own(variant).executable)),
      text(() => executablePath('process.parent.executable')),
      text(() => executablePath('p.executable')),
    ),
  },
  {
    names: ['proc.acmdline'],
    ours: '`process.ancestors`, `.comm` and the later `.args`',
    compare: ancestors(
      text((variant) => commandLine(own(variant).arguments)),
      text(() => commandLine(PARENT)),
      text(() => commandLine(ANCESTOR)),
    ),
  },
  {
    names: ['proc.aargs'],
    ours: '`process.ancestors`, the later `.args`',
    compare: ancestors(
      text((variant) => laterArguments(own(variant).arguments)),
      text(() => laterArguments(PARENT)),
      text(() => laterArguments(ANCESTOR)),
    ),
  },
  {
    names: ['proc.tty'],
    ours: 'tracker exec: `stdin == "TERMINAL"` where it is not 0',
    compare: (check, { tracker, result }) => {
      if (tracker !== 'exec' || result !== 'ok') return lost(check.text, NO_TTY);
      const [wanted, more] = integersOf(check) ?? [];
      if (wanted !== 0 || more !== undefined)
        return lost(check.text, 'only that there is a terminal (0 or not) has a counterpart');
      const note =
        'proc.tty: the standard input is a terminal; Falco asks whether the process has a controlling terminal';
      const has = cel('stdin == "TERMINAL"', note);
      if (check.op === '!=' || check.op === '>') return has;
      return check.op === '=' || check.op === '==' ? cel('stdin != "TERMINAL"', note) : lost(check.text, NO_TTY);
    },
  },
  {
    names: ['proc.duration'],
    ours: '`time - process.startTime`, from the fork on, compared with a `duration("…")`',
    compare: (check) => {
      const [wanted, more] = integersOf(check) ?? [];
      if (wanted === undefined || more !== undefined || wanted < 0 || !['<', '<=', '>', '>='].includes(check.op))
        return lost(check.text, 'the age of a process is less or more than a number of nanoseconds');
      return cel(`time - process.startTime ${check.op} duration("${formatDuration(wanted / 1e6)}")`);
    },
  },
  {
    names: ['proc.is_exe_from_memfd'],
    ours: 'the executable begins with "/memfd:"',
    compare: (check, variant) => compareFlag(cel(`${own(variant).executable}.startsWith("/memfd:")`), check),
  },
  {
    names: ['user.uid'],
    ours: '`process.uid`: the real user id, in the initial user namespace',
    compare: (check) => compareNumber('process.uid', check),
  },
  {
    names: ['group.gid'],
    ours: '`process.gid`: the real group id',
    compare: (check) => compareNumber('process.gid', check),
  },
  {
    names: ['user.name'],
    ours: '`process.uid`: the id of the name according to `--passwd`; root is 0',
    compare: (check, _variant, facts) => compareText(userName(facts), check),
  },
  {
    names: ['group.name'],
    ours: '`process.gid`: of root alone',
    compare: (check) =>
      compareText(
        idOf(
          'process.gid',
          (name) => (name === 'root' ? [0] : null),
          () => `the ids of groups other than root are not known`,
        ),
        check,
      ),
  },
  {
    names: ['thread.cap_effective', 'thread.cap_permitted', 'thread.cap_inheritable'],
    ours: 'tracker privilege: `capEffectiveBefore`, `capPermittedBefore`, `capInheritableBefore`',
    compare: (check, { tracker }) => {
      if (tracker !== 'privilege')
        return lost(check.text, `the events of ${tracker} have no capabilities of the process`);
      const set = check.field.name.replace('thread.cap_', '');
      return compareText(names(`cap${set.charAt(0).toUpperCase()}${set.slice(1)}Before`, ' '), check);
    },
  },
];

/** A name that stands for ids. `idsOf`: null where nothing is known. */
function idOf(path: string, idsOf: (name: string) => readonly number[] | null, why: (name: string) => string): Text {
  const eq = (name: string): CelTree => {
    const ids = idsOf(name);
    if (!ids) return lost(name, why(name));
    return ids.length ? cel(ids.length === 1 ? `${path} == ${ids[0]}` : `${path} in [${ids.join(', ')}]`) : FALSE;
  };
  return {
    exists: TRUE,
    eq,
    among: (values) => {
      const unknown = values.find(({ text: name }) => !idsOf(name));
      if (unknown) return lost(unknown.text, why(unknown.text));
      const ids = [...new Set(values.flatMap(({ text: name }) => idsOf(name) ?? []))].sort((a, b) => a - b);
      return ids.length ? cel(`${path} in [${ids.join(', ')}]`) : FALSE;
    },
    prefix: (name) => lost(name, 'a part of a name has no id'),
    suffix: (name) => lost(name, 'a part of a name has no id'),
    contains: (name) => lost(name, 'a part of a name has no id'),
    matches: (pattern) => lost(pattern, 'a pattern of names has no id'),
  };
}

/** The ids of a user's name; null where no file of users tells them. */
export function userIds({ users }: Pick<ImportFacts, 'users'>): (name: string) => readonly number[] | null {
  return (name) => (name === 'root' ? [0] : users ? (users.ids.get(name) ?? []) : null);
}

function userName({ users }: ImportFacts): Text {
  const ids = userIds({ users });
  const of = idOf(
    'process.uid',
    ids,
    (name) => `the id of the user ${name} is not known; give a file of users with --passwd`,
  );
  if (!users) return of;
  const named = (list: readonly string[]): string => {
    const absent = list.filter((name) => !ids(name)?.length);
    return `user.name: ids of ${users.from}${absent.length ? `, where there is no ${absent.join(', ')}` : ''}`;
  };
  return {
    ...of,
    eq: (name) => (name === 'root' ? of.eq(name) : noted(of.eq(name), named([name]))),
    among: (values) => noted(of.among?.(values) ?? FALSE, named(values.map(({ text: name }) => name))),
  };
}
