import {
  bpfCommands,
  keyctlOperations,
  prctlOptions,
  ptraceRequests,
  seccompOperations,
  type Commands,
} from '../../linux/command.js';
import { signalName } from '../../linux/linux.js';
import type { CallVariant } from './call.js';
import { firstArgument, laterArguments } from './command-line.js';
import {
  text,
  number,
  compareNumber,
  compareFlag,
  decide,
  integersOf,
  type Compare,
  type FieldRow,
} from './compare.js';
import { pathOf, ofFile } from './descriptor-field.js';
import { and, cel, constant, FALSE, lost, not, noted, or, TRUE, type CelTree } from './expression.js';
import { own, comm, userIds, workingDirectory } from './process-field.js';
import { compareText, names, oneOf, passed, plain, type Text } from './text.js';

/** The outcome of the call. */
const result: Compare = (check, variant, facts) => {
  const { result: is, row, tracker } = variant;
  if (check.field.name === 'evt.failed') return compareFlag(constant(is === 'failed'), check);
  if (check.field.name === 'evt.res' && integersOf(check) === null) return compareText(outcome(variant), check);
  if (tracker === 'syscall') return compareNumber('ret', check);
  if (is === 'ok') {
    const returnsMore = row.descriptor === 'file' || tracker === 'udp' || tracker === 'privilege';
    const numbers = integersOf(check) ?? [];
    const decided = numbers.every((wanted) => wanted < 0 || (wanted === 0 && (check.op === '>=' || check.op === '<')));
    if (decided) return decide((wanted) => 0.5 - wanted, check) ?? FALSE;
    if (!returnsMore) return decide((wanted) => -wanted, check) ?? lost(check.text, 'the value is no whole number');
    return row.descriptor === 'file'
      ? compareNumber('fd', check)
      : tracker === 'privilege'
        ? compareNumber('result', check)
        : number('payloadBytes')(check, variant, facts);
  }
  const numbers = integersOf(check);
  const equals = numbers && ['=', '==', 'in', '!='].includes(check.op);
  if (equals && numbers.some((wanted) => wanted < 0)) {
    const some = or(numbers.map((wanted) => (wanted < 0 ? cel(`errno == ${-wanted}`) : FALSE)));
    return check.op === '!=' ? not(some) : some;
  }
  return numbers?.every((wanted) => wanted >= -1 || check.op === '>=' || check.op === '>') &&
    numbers.every((wanted) => wanted >= -1)
    ? (decide((wanted) => (wanted === -1 ? 0 : -1), check) ?? FALSE)
    : lost(check.text, 'errors have no order');
};

/** "SUCCESS" or the name of the error. */
function outcome({ result: is, tracker }: CallVariant): Text {
  const success = oneOf({ SUCCESS: TRUE });
  if (is === 'ok') return success;
  const error = plain('errno', { always: true });
  return {
    exists: TRUE,
    // A connect that is under way has no event yet: see the note of connect.
    eq: (value) =>
      !/^E[A-Z0-9]+$/.test(value) || (tracker === 'tcp' && value === 'EINPROGRESS') ? FALSE : error.eq(value),
    prefix: (value) =>
      value === 'E'
        ? TRUE
        : value.startsWith('E')
          ? lost(value, "a part of an error's name has no counterpart")
          : FALSE,
    suffix: (value) => lost(value, "a part of an error's name has no counterpart"),
    contains: (value) => (value === 'E' ? TRUE : lost(value, "a part of an error's name has no counterpart")),
    matches: (pattern) => lost(pattern, 'a pattern of errors has no counterpart'),
  };
}

/** What the mode of a call has as flags, by the letter that `ls` writes. */
const MODES: Readonly<Record<string, string>> = {
  S_ISUID: '??[sS]??????',
  S_ISGID: '?????[sS]???',
  S_ISVTX: '????????[tT]',
  S_IRUSR: 'r????????',
  S_IWUSR: '?w???????',
  S_IXUSR: '??[xs]??????',
  S_IRGRP: '???r?????',
  S_IWGRP: '????w????',
  S_IXGRP: '?????[xs]???',
  S_IROTH: '??????r??',
  S_IWOTH: '???????w?',
  S_IXOTH: '????????[xt]',
};

function modeText(): Text {
  const part = (value: string): CelTree => {
    const glob = MODES[value];
    return glob === undefined
      ? lost(value, `the mode ${value} has no counterpart`)
      : cel(`modeText.glob(${JSON.stringify(glob)})`);
  };
  const all = (value: string): CelTree => and(value.split('|').map(part));
  return {
    exists: cel('modeText != null'),
    eq: (value) => noted(all(value), `the mode has ${value}; it may have more`),
    prefix: all,
    suffix: all,
    contains: all,
    matches: (pattern) => {
      const name = pattern.replace(/^\(\?i\)/, '');
      return MODES[name] === undefined ? lost(pattern, 'a pattern of modes has no counterpart') : part(name);
    },
  };
}

/** Numbers of commands, by the call that takes them. */
const COMMANDS: Readonly<Record<string, Commands>> = {
  ptrace: ptraceRequests,
  bpf: bpfCommands,
  keyctl: keyctlOperations,
  prctl: prctlOptions,
  seccomp: seccompOperations,
};

/** Paths as Falco calls them: a call that has no argument of such a name has no value of it, and a comparison is false. */
const PATHS: ReadonlySet<string> = new Set([
  'name',
  'path',
  'pathname',
  'filename',
  'oldpath',
  'newpath',
  'target',
  'linkpath',
]);

function asNumber(value: string): number {
  return /^(?:\d+|0[xX][\da-fA-F]+)$/.test(value) ? Number(value) : Number.NaN;
}

/** How an argument of a call (call.ts) is compared. */
const argumentKinds: Readonly<Record<string, Compare>> = {
  path: text((variant) =>
    variant.tracker === 'open' ? (pathOf(variant) ?? passed('path', 'directory')) : passed('path', 'directory'),
  ),
  newPath: text(() => passed('newPath', 'newDirectory')),
  passed: text(() => passed('path', 'directory')),
  source: text(() => plain('source')),
  target: text(() => ({
    ...plain('target'),
    eq: (value) => or([plain('target').eq(value), plain('resolved').eq(value)]),
  })),
  command: text(({ call }) => plain('command', { value: (value) => COMMANDS[call]?.get(asNumber(value)) ?? value })),
  signal: text(() =>
    plain('signal', { value: (value) => (asNumber(value) > 0 ? signalName(asNumber(value)) : null) ?? value }),
  ),
  flags: text(() => names('flags', '|')),
  modeText: text(() => modeText()),
  argv0: text((variant) => firstArgument(own(variant).arguments)),
  args: text((variant) => laterArguments(own(variant).arguments)),
  comm,
  cwd: text((variant) => workingDirectory(own(variant).cwd)),
  named: (check, _variant, facts) => {
    const wanted = check.field.name.replace('evt.arg.', '');
    if (!['=', '==', '!=', 'in'].includes(check.op))
      return lost(check.text, 'the argument is compared with whole values, and not ordered');
    const ids = wanted.endsWith('uid')
      ? userIds(facts)
      : (name: string) => (wanted.endsWith('gid') && name === 'root' ? [0] : null);
    const numbers: number[] = [];
    for (const { text: value } of check.values) {
      const number = asNumber(value);
      const found = Number.isNaN(number) ? ids(value) : [number];
      if (!found)
        return lost(
          check.text,
          wanted.endsWith('uid')
            ? `the id of the user ${value} is not known; give a file of users with --passwd`
            : `the argument is a number, and ${value} is none`,
        );
      numbers.push(...found);
    }
    const some = or(numbers.map((each) => cel(`${JSON.stringify(`${wanted}=${each}`)} in arguments`)));
    return check.op === '!=' ? not(some) : some;
  },
};

/** Arguments that are a number here; the others are texts. */
const NUMBERS: ReadonlySet<string> = new Set([
  'fd',
  'mode',
  'owner',
  'group',
  'targetPid',
  'targetTid',
  'payloadBytes',
  'requestedBacklog',
  'exitCode',
]);

const argument: Compare = (check, variant, facts) => {
  const name = check.field.name.replace(/^evt\.(?:raw)?arg\./, '');
  if (name === 'res' || name === 'ret')
    return result(
      { ...check, field: { ...check.field, name: integersOf(check) ? 'evt.rawres' : 'evt.res' } },
      variant,
      facts,
    );
  const target = Object.hasOwn(variant.row.arguments, name) ? variant.row.arguments[name] : undefined;
  if (target === undefined && PATHS.has(name) && variant.tracker !== 'syscall') return FALSE;
  if (target === undefined)
    return lost(
      check.text,
      variant.tracker === 'syscall'
        ? `the events have no arguments of ${variant.call}`
        : `the events of ${variant.tracker} have no argument "${name}" of ${variant.call}`,
    );
  const kind = argumentKinds[target];
  if (kind) return kind({ ...check, field: { ...check.field, name: `evt.arg.${name}` } }, variant, facts);
  return NUMBERS.has(target) ? compareNumber(target, check) : compareText(plain(target), check);
};

const opensWith =
  (flags: readonly string[]): Compare =>
  (check, { row }) =>
    row.descriptor === 'file'
      ? compareFlag(or(flags.map((flag) => cel(`${JSON.stringify(flag)} in flags`))), check)
      : compareFlag(FALSE, check);

/** fs.path: of a call with two paths the first is the source. */
const fsPath: Compare = (check, variant, facts) => {
  const { name } = check.field;
  const { row, tracker } = variant;
  if (tracker === 'open')
    return name.includes('target') || name.includes('source')
      ? FALSE
      : name.endsWith('raw')
        ? compareText(plain('path'), check)
        : ofFile((path) => path)(check, variant, facts);
  if (tracker !== 'fsop') return lost(check.text, `the events of ${tracker} have no path of this kind`);
  const two = Object.values(row.arguments).includes('newPath');
  const place = name.includes('target') ? 'newPath' : 'path';
  if ((name.includes('source') || name.includes('target')) && !two) return FALSE;
  if (name.endsWith('raw')) return compareText(plain(place), check);
  const at = passed(place, place === 'path' ? 'directory' : 'newDirectory');
  return row.descriptor === 'path'
    ? or([compareText(at, check), compareText(plain('resolved'), check)])
    : compareText(at, check);
};

export const eventRows: readonly FieldRow[] = [
  {
    names: ['evt.num'],
    ours: 'a number from 1 on: `evt.num = 0` is never true',
    compare: (check) => {
      const numbers = integersOf(check);
      return numbers?.every((wanted) => wanted <= 0)
        ? (decide((wanted) => 1 - wanted, check) ?? FALSE)
        : lost(check.text, 'events have no numbers here');
    },
  },
  {
    names: ['evt.dir'],
    ours: 'always "<": an event is of the end of a call',
    compare: (check) =>
      check.values.some(({ text: value }) => value === '>')
        ? noted(TRUE, 'evt.dir: events are of the end of a call, not of its beginning')
        : compareText(oneOf({ '<': TRUE }), check),
  },
  { names: ['evt.res', 'evt.rawres', 'evt.failed'], ours: '`errno`, and of open `fd`', compare: result },
  {
    names: ['evt.is_open_read'],
    ours: '`flags` of open: O_RDONLY, O_RDWR',
    compare: opensWith(['O_RDONLY', 'O_RDWR']),
  },
  {
    names: ['evt.is_open_write'],
    ours: '`flags` of open: O_WRONLY, O_RDWR',
    compare: opensWith(['O_WRONLY', 'O_RDWR']),
  },
  {
    names: ['evt.is_open_create'],
    ours: '`flags` of open: O_CREAT',
    compare: (check, variant, facts) =>
      noted(
        opensWith(['O_CREAT'])(check, variant, facts),
        'evt.is_open_create: O_CREAT was passed; the file may have been there',
      ),
  },
  { names: ['evt.source'], ours: 'always "syscall"', compare: text(() => oneOf({ syscall: TRUE })) },
  {
    names: [
      'fs.path.name',
      'fs.path.nameraw',
      'fs.path.source',
      'fs.path.sourceraw',
      'fs.path.target',
      'fs.path.targetraw',
    ],
    ours: 'open: as fd.name; fsop: `path` and `directory`, `newPath` and `newDirectory`',
    compare: fsPath,
  },
  { names: ['evt.arg', 'evt.rawarg'], ours: 'the arguments of a call, by its name', compare: argument },
];
