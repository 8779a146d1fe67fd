import * as fc from 'fast-check';

/** Random valid filters in CEL, of the fields that the kernel can evaluate and of some that it cannot. */

export interface Pools {
  readonly pids: readonly number[];
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly cgroups: readonly string[];
  readonly comms: readonly string[];
  readonly paths: readonly string[];
  readonly addresses: readonly string[];
  readonly networks: readonly string[];
  readonly ports: readonly number[];
}

const errnos = ['EPERM', 'ENOENT', 'EACCES', 'ENOTDIR', 'EISDIR', 'ECONNREFUSED', 'ENOEXEC'];
const flags = [
  'O_RDONLY',
  'O_WRONLY',
  'O_RDWR',
  'O_CREAT',
  'O_TRUNC',
  'O_EXCL',
  'O_CLOEXEC',
  'O_DIRECTORY',
  'O_DSYNC',
  'O_SYNC',
  'O_TMPFILE',
  '0x80000000',
];
const calls = [
  'openat',
  'read',
  'write',
  'close',
  'mmap',
  'execve',
  'exit_group',
  'connect',
  'brk',
  'syscall_600',
  'syscall_2000',
  'syscall_0',
  'no_such_call',
];

type Text = fc.Arbitrary<string>;
const oneOf = <Item>(items: readonly Item[]): fc.Arbitrary<Item> => fc.constantFrom(...items);
const quote = (text: string): string => JSON.stringify(text);

function number(path: string, values: readonly (number | string)[]): Text {
  return fc.oneof(
    fc.tuple(oneOf(['==', '!=', '<', '<=', '>', '>=']), oneOf(values)).map(([op, value]) => `${path} ${op} ${value}`),
    fc.array(oneOf(values), { minLength: 1, maxLength: 3 }).map((list) => `${path} in [${list.join(', ')}]`),
  );
}

function text(path: string, values: readonly string[]): Text {
  const value = oneOf(values.filter((one) => one !== ''));
  // A beginning by code points: half of a surrogate pair is no text.
  const start = fc.tuple(value, fc.nat(12)).map(([one, at]) => [...one].slice(0, at + 1).join(''));
  const literal = start.map((one) => one.replace(/[*?[\]{},\\+.()|^$]/g, ''));
  return fc.oneof(
    fc.tuple(oneOf(['==', '!=']), oneOf(values)).map(([op, one]) => `${path} ${op} ${quote(one)}`),
    fc.array(oneOf(values), { minLength: 1, maxLength: 3 }).map((list) => `${path} in [${list.map(quote).join(', ')}]`),
    start.map((one) => `${path}.startsWith(${quote(one)})`),
    value.map((one) => `${path}.startsWith(${quote(one)})`),
    start.map((one) => `${path}.endsWith(${quote([...one].slice(-2).join(''))})`),
    literal.map((one) => `${path}.glob(${quote(`${one}*`)})`),
    literal.map((one) => `${path}.glob(${quote(`${one}?*`)})`),
    fc
      .tuple(literal, oneOf(['', '.', 'x*', '?', '+', '[a-z]']))
      .map(([one, more]) => `${path}.matches(${quote(`^a?${one}${one === '' && '?+'.includes(more) ? '' : more}`)})`),
    fc
      .tuple(literal, oneOf(['', '.', 'x*', '[a-z]']))
      .map(([one, more]) => `${path}.matches(${quote(`^${one}${more}`)})`),
    fc
      .tuple(literal, oneOf(['*', '?']))
      .map(([one, more]) => `${path}.matches(${quote(one === '' ? '^a' : `^${one}${more}`)})`),
  );
}

function errno(path: string): Text {
  return fc.oneof(
    oneOf([`${path} == null`, `${path} != null`]),
    fc.tuple(oneOf(['==', '!=']), oneOf(errnos)).map(([op, one]) => `${path} ${op} ${quote(one)}`),
    fc.array(oneOf(errnos), { minLength: 1, maxLength: 3 }).map((list) => `${path} in [${list.map(quote).join(', ')}]`),
  );
}

function name(path: string): Text {
  return fc.oneof(
    fc.tuple(oneOf(['==', '!=']), oneOf(calls)).map(([op, one]) => `${path} ${op} ${quote(one)}`),
    fc.array(oneOf(calls), { minLength: 1, maxLength: 3 }).map((list) => `${path} in [${list.map(quote).join(', ')}]`),
    oneOf(['open', 'e', 'syscall_', 'x']).map((one) => `${path}.startsWith(${quote(one)})`),
    oneOf(['.*at$', '^(read|write)', '^syscall_6']).map((one) => `${path}.matches(${quote(one)})`),
  );
}

function address(path: string, { addresses, networks }: Pools): Text {
  return fc.oneof(
    oneOf(networks).map((one) => `cidr(${quote(one)}).containsIP(${path})`),
    fc.tuple(oneOf(['==', '!=']), oneOf(addresses)).map(([op, one]) => `${path} ${op} ${quote(one)}`),
    oneOf([`${path} == null`, `${path} != null`]),
  );
}

/** Two fields of one event. */
function pair(one: string, other: string): Text {
  return oneOf(['==', '!=']).map((op) => `${one} ${op} ${other}`);
}

/** Comparisons by tracker; those of all trackers are under "", those of all that aggregate in the kernel under "sum". */
function leaves(pools: Pools): Readonly<Record<string, readonly Text[]>> {
  const small = [-1, 0, 1, 3, 4, 9, 255];
  return {
    '': [
      number('process.pid', pools.pids),
      number('process.tid', pools.pids),
      number('process.uid', pools.uids),
      number('process.gid', pools.gids),
      number('cgroupId', pools.cgroups),
      text('process.comm', pools.comms),
      oneOf(['container == null', 'container != null', 'process.ppid > 1']),
      pair('process.pid', 'process.tid'),
      pair('process.uid', 'process.gid'),
    ],
    // Of an aggregate, whose header is that of one of its calls: which one, the order of threads and CPUs tells.
    sum: [
      number('process.pid', pools.pids),
      number('cgroupId', pools.cgroups),
      oneOf(['container == null', 'container != null']),
    ],
    open: [
      errno('open.errno'),
      number('open.fd', small),
      text('open.path', pools.paths),
      text('open.path', pools.paths),
      text('open.resolved', pools.paths),
      pair('open.path', 'open.resolved'),
      oneOf(flags).map((one) => `${quote(one)} in open.flags`),
      oneOf(flags).map((one) => `!(${quote(one)} in open.flags)`),
      oneOf([
        'size(open.flags) > 1',
        'open.mode != null',
        'open.deleted',
        'open.resolvedState == "ROOTED"',
        'open.resolvedState != "DETACHED"',
        'open.resolvedState == null',
      ]),
    ],
    exec: [
      errno('exec.errno'),
      text('exec.filename', pools.paths),
      text('exec.executable', pools.paths),
      pair('exec.filename', 'exec.executable'),
      pair('process.comm', 'exec.parentComm'),
      oneOf(['exec.executableDeleted', 'exec.executableState in ["ROOTED", "ANONYMOUS"]']),
      text('exec.parentComm', pools.comms),
      oneOf(pools.comms).map((one) => `${quote(one)} in exec.args`),
    ],
    exit: [
      number('exit.exitCode', small),
      oneOf([
        'exit.exitCode == null',
        'exit.exitCode != null',
        'exit.signal == null',
        'exit.signal != null',
        'exit.signal == "SIGKILL"',
        'exit.signal.startsWith("SIG")',
        'exit.signal.endsWith("L")',
        'exit.coreDumped',
      ]),
    ],
    tcp: [
      oneOf(['tcp.localPort == null', 'tcp.localPort != null', 'tcp.remotePort == null', 'tcp.remotePort != null']),
      errno('tcp.errno'),
      number('tcp.localPort', pools.ports),
      number('tcp.remotePort', pools.ports),
      pair('tcp.localPort', 'tcp.remotePort'),
      pair('tcp.localAddress', 'tcp.remoteAddress'),
      address('tcp.localAddress', pools),
      address('tcp.remoteAddress', pools),
      oneOf(['CONNECT', 'ACCEPT', 'CLOSE', 'CONNECT_FAILED']).map((one) => `tcp.tcpOperation == ${quote(one)}`),
      oneOf(['tcp.ipVersion == 4', 'tcp.ipVersion == 6']),
    ],
    syscount: [
      number('syscount.nr', [0, 1, 2, 3, 59, 257, 600]),
      name('syscount.name'),
      oneOf(['syscount.count > 1', 'syscount.errors > 0', 'syscount.errors == 0']),
    ],
    syscall: [
      errno('syscall.errno'),
      number('syscall.ret', [-2, -1, 0, 1, 3, 100, '4294967296']),
      number('syscall.nr', [0, 1, 2, 3, 59, 257, 600]),
      name('syscall.name'),
    ],
  };
}

/** A random filter of events of these trackers. */
export function filterText(trackers: readonly string[], pools: Pools): fc.Arbitrary<string> {
  const all = leaves(pools);
  const leaf = fc.oneof(
    ...[trackers.includes('syscount') ? 'sum' : '', ...trackers, ...trackers].flatMap((tracker) => all[tracker] ?? []),
  );
  const { tree } = fc.letrec<{ tree: string }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 3, withCrossShrink: true },
      { weight: 4, arbitrary: leaf },
      {
        weight: 2,
        arbitrary: fc
          .array(tie('tree'), { minLength: 2, maxLength: 3 })
          .map((parts) => parts.map((part) => `(${part})`).join(' && ')),
      },
      {
        weight: 2,
        arbitrary: fc
          .array(tie('tree'), { minLength: 2, maxLength: 3 })
          .map((parts) => parts.map((part) => `(${part})`).join(' || ')),
      },
      { weight: 1, arbitrary: tie('tree').map((part) => `!(${part})`) },
    ),
  }));
  return tree;
}
