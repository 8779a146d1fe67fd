import { tinyProgram, type CallArgument } from '../../linux/tiny-program.js';
import { archiveOf } from './archive.js';

/** Where a copy has the helper's programs. */
export const HELPER = '/.eunomia';

/** Calls without effect that programs rarely make. Docker's default profile allows the first of them. */
const calls: readonly (readonly [call: string, ...args: CallArgument[]])[] = [
  ['sched_get_priority_max', 0],
  ['getpgid', 0],
  ['timerfd_create', 0, 0],
  ['inotify_init1', 0],
  ['memfd_create', 'eunomia', 0],
  ['getpriority', 0, 0],
  ['personality', -1],
  ['unshare', 0],
  ['keyctl', 0, -1],
];

const AT_FDCWD = -100;
const O_WRONLY_CREAT = 0o101;
const O_NOATIME = process.arch === 'arm64' || process.arch === 'x64' ? 0o1000000 : 0;

/** Something that a copy attempts. Each program exits with the error number. */
export interface Attempt {
  readonly kind: 'CALL' | 'CAPABILITY' | 'PATH';
  /** The call, the capability that it takes, or the path that would be made. */
  readonly what: string;
  readonly program: string;
}

interface HelperProgram extends Attempt {
  readonly call: string;
  readonly args: readonly CallArgument[];
}

const programs: readonly HelperProgram[] = [
  ...calls.map(([call, ...args]): HelperProgram => ({ kind: 'CALL', what: call, program: call, call, args })),
  // The file belongs to another user, who alone may read it.
  openOf('CAPABILITY', 'CAP_DAC_OVERRIDE', `${HELPER}/closed`, 0),
  openOf('CAPABILITY', 'CAP_FOWNER', `${HELPER}/readable`, O_NOATIME),
  openOf('PATH', '/eunomia-outside', '/eunomia-outside', O_WRONLY_CREAT),
];

function openOf(kind: Attempt['kind'], what: string, path: string, flags: number): HelperProgram {
  return { kind, what, program: what.replaceAll('/', ''), call: 'openat', args: [AT_FDCWD, path, flags, 0o600] };
}

/** What can be attempted on this machine. */
export const attempts: readonly Attempt[] = programs.filter(({ call, args }) => tinyProgram(call, args) !== null);

/** An image with nothing but the programs; `exit` ends at once, `pause` never. Null where this architecture has none. */
export function helperArchive(): Buffer | null {
  const all = [
    ...programs,
    { program: 'exit', call: 'exit_group', args: [0] },
    { program: 'pause', call: 'ppoll', args: [0, 0, 0, 0] },
  ];
  const files = all.flatMap(({ program, call, args }) => {
    const content = tinyProgram(call, args);
    return content === null ? [] : [{ path: `${HELPER.slice(1)}/${program}`, mode: 0o755, content }];
  });
  if (files.length === 0) return null;
  const file = (name: string, mode: number) => ({
    path: `${HELPER.slice(1)}/${name}`,
    mode,
    uid: 65_533,
    content: Buffer.alloc(0),
  });
  return archiveOf([...files, file('closed', 0), file('readable', 0o444)]);
}
