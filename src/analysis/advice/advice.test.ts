import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventWith } from '../../../test/support/event.js';
import { loadTrackers } from '../../catalog/load.js';
import type { Advice, Observation, SeccompArgument } from '../../event/advice.js';
import type { TraceEvent } from '../../event/event.js';
import { Missing } from '../../event/missing.js';
import type { ReportSource, ReportTracker } from '../report/index.js';
import { diffRights } from './diff.js';
import { withCallsOf } from './line.js';
import { emptyObservation, merge } from './observation.js';
import { Observer, stablePath } from './observer.js';
import { recommend, type RecommendOptions } from './recommend.js';

const trackers: readonly ReportTracker[] = (await loadTrackers()).map(({ name, report = null }) => ({ name, report }));
/** Where it runs, `open` is not counted besides. */
const counting = 'opencount';
const ran = trackers.filter(({ name, report }) => report !== null && name !== counting).map(({ name }) => name);
const web = { id: 'a'.repeat(64), name: 'web', image: 'web:1' };
const at = (second: number): string => `2026-01-01T00:00:${String(second).padStart(2, '0')}.000000000Z`;

function event(tracker: string, second: number, fields: Record<string, unknown>, process: object = {}): TraceEvent {
  return eventWith(tracker, {
    time: at(second),
    process: { comm: 'web', uid: 0, gid: 0, pid: 7, ...process },
    container: web,
    ...fields,
  });
}
const asked = (second: number, name: string, argument: number | null, process: object = {}): TraceEvent =>
  event('syscount', second, { name, abi: 'X86_64', argument, count: '1', errors: '0' }, process);
const call = (second: number, name: string, count = 1, errors = 0, process: object = {}): TraceEvent =>
  event('syscount', second, { name, abi: 'X86_64', count: String(count), errors: String(errors) }, process);
const HOST = '4026531841';
const INSIDE = '4026532254';
const runtime = { comm: 'runc:[2:INIT]', mountNs: INSIDE };
const check = (second: number, capability: string, name: string, granted = true, process: object = {}): TraceEvent =>
  event('capability', second, { capability, granted, name, count: '1', userNsLevel: 0 }, process);
const opened = (second: number, resolved: string, ...flags: string[]): TraceEvent =>
  event('open', second, { resolved, path: resolved, errno: null, flags: flags.length ? flags : ['O_RDONLY'] });

function observe(events: readonly TraceEvent[], span: Partial<ReportSource> = {}): Observation {
  const observer = new Observer({ containers: new Set([web.id]), from: null, to: null, trackers });
  observer.begin({ id: 's', trackers: ran, options: {}, excluded: [], from: at(0), to: at(60 - 1), ...span });
  for (const one of events) observer.add(one);
  return merge(observer.build(new Missing(), at(59)), emptyObservation());
}
const advise = (events: readonly TraceEvent[], options: Partial<RecommendOptions> = {}): Advice =>
  recommend(observe(events), { current: null, runtimeCalls: ['capset'], action: 'SCMP_ACT_ERRNO', ...options });
const allowed = ({ rights }: Advice): readonly string[] => rights.seccomp.syscalls[0]?.names ?? [];
const lineOf = ({ lines }: Advice, aspect: string, what: string) =>
  lines.find((line) => line.aspect === aspect && line.what === what);

describe('an observation', () => {
  it('of two halves of a time is, merged, that of the whole', () => {
    const some = fc.oneof(
      fc.tuple(fc.constantFrom('read', 'write', 'pivot_root'), fc.nat(3), fc.boolean()).map(
        ([name, errors, early]) =>
          (second: number) =>
            call(second, name, 3, errors, early ? runtime : {}),
      ),
      fc
        .constantFrom(HOST, INSIDE)
        .map((mountNs) => (second: number) => call(second, 'mount', 1, 0, { comm: 'exe', mountNs })),
      fc.constantFrom('/tmp/a', '/etc/b', '/proc/12/stat').map((path) => (second: number) => opened(second, path)),
      fc.constantFrom(2, 10, null).map((family) => (second: number) => asked(second, 'socket', family)),
      fc.constantFrom('CAP_CHOWN', 'CAP_KILL').map((name) => (second: number) => check(second, name, 'fchown')),
      fc.constantFrom(1, 2).map((uid) => (second: number) => call(second, 'read', 1, 0, { uid, comm: `c${uid}` })),
    );
    fc.assert(
      fc.property(fc.array(some, { maxLength: 30 }), fc.nat(30), (made, half) => {
        const events = made.map((one, i) => one(i + 1));
        const parts = [
          observe(events.slice(0, half), { to: at(half + 1) }),
          observe(events.slice(half), { from: at(half + 1) }),
        ] as const;
        expect(merge(...parts)).toEqual(observe(events));
      }),
    );
  });

  it('allows calls with the few values of the argument that tells them apart, where none came late', () => {
    const rulesOf = (name: string, ...events: readonly TraceEvent[]) => {
      const made = advise([call(1, 'read'), ...events]);
      const rules = made.rights.seccomp.syscalls.filter(({ names }) => names.includes(name));
      return [
        rules.map(({ args }) => args?.map(({ index, valueTwo }) => [index, valueTwo])),
        lineOf(made, 'CALL', name)?.why,
      ];
    };
    const [two, ten] = [asked(1, 'socket', 2), asked(2, 'socket', 10)];
    expect(rulesOf('socket', two, ten, two)).toEqual([[[[0, 2]], [[0, 10]]], 'was seen, with 2 and 10 only']);
    expect(rulesOf('ioctl', asked(1, 'ioctl', 0x5401))).toEqual([[[[1, 0x5401]]], 'was seen, with 0x5401 only']);
    // One that came in the second half of the time may be followed by others; so may many, and some that nobody knows.
    const all = [[undefined], 'was seen'];
    expect(rulesOf('socket', two, asked(45, 'socket', 10))).toEqual(all);
    const started = call(40, 'pivot_root', 1, 0, runtime);
    expect(rulesOf('socket', started, asked(41, 'socket', 10))).toEqual([[[[0, 10]]], 'was seen, with 10 only']);
    expect(rulesOf('ioctl', ...Array.from({ length: 17 }, (_, i) => asked(1, 'ioctl', i)))).toEqual(all);
    expect(rulesOf('socket', two, asked(2, 'socket', null))).toEqual(all);
    expect(rulesOf('read', asked(1, 'read', null))).toEqual(all);
    // 32-bit programs name the family in memory, where no filter looks; libseccomp lets them, once there is a filter for socket.
    expect(
      rulesOf('socket', two, event('syscount', 1, { name: 'write', abi: 'I386', count: '1', errors: '0' })),
    ).toEqual(all);
    expect(
      rulesOf(
        'ioctl',
        asked(1, 'ioctl', 1),
        event('syscount', 1, { name: 'write', abi: 'I386', count: '1', errors: '0' }),
      )[0],
    ).toHaveLength(1);
    // What Docker's profile refuses each time is not allowed by this one; what fails otherwise is.
    const fails = (argument: number, count: number) =>
      event('syscount', 1, { name: 'socket', abi: 'X86_64', argument, count: String(count), errors: String(count) });
    const refuses = event('seccomp', 2, { name: 'socket', action: 'ERRNO', errno: 'EPERM' });
    expect(rulesOf('socket', two, fails(40, 1), refuses)[0]).toEqual([[[0, 2]]]);
    expect(rulesOf('socket', two, fails(38, 1), fails(40, 1), refuses)[0]).toEqual([[[0, 2]], [[0, 38]], [[0, 40]]]);
    // Nobody watched for any time, or for some of it nobody watched calls: half of it says nothing.
    for (const more of [{ spans: [] }, { unobserved: ['syscalls'] }]) {
      const options = { current: null, runtimeCalls: [], action: 'SCMP_ACT_ERRNO' } as const;
      expect(allowed(recommend({ ...observe([two]), ...more }, options))).toContain('socket');
    }
    // The runtime makes it too, under the profile.
    const made = recommend(observe([two]), { current: null, runtimeCalls: ['socket'], action: 'SCMP_ACT_ERRNO' });
    expect(allowed(made)).toContain('socket');
  });

  it('has one entry for the names of temporary files, of halves as of the whole, and is not cut off by them', () => {
    const temporary = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) =>
        opened(1 + ((from + i) % 50), `/tmp/job.${from + i}`, 'O_WRONLY', 'O_CREAT'),
      );
    const others = [opened(1, '/tmp/dir/a'), opened(2, '/etc/passwd')];
    const whole = observe([...temporary(0, 30_000), ...others]);
    expect(whole.truncated).toBe(false);
    expect(whole.paths.map(({ path, access, count }) => [path, access, count])).toEqual([
      ['/etc/passwd', 'READ', 1],
      ['/tmp/', 'WRITE', 30_000],
      ['/tmp/dir/a', 'READ', 1],
    ]);
    const few = observe([...temporary(0, 600), ...others]);
    expect(merge(observe([...temporary(0, 300), ...others]), observe(temporary(300, 600))).paths).toEqual(few.paths);
    expect(merge(observe(temporary(0, 590)), observe([...others, ...temporary(590, 600)])).paths).toEqual(few.paths);
    const { rights, lines } = advise(temporary(0, 600));
    expect(rights.tmpfs.map(({ path }) => path)).toEqual(['/tmp']);
    expect(lines.find(({ what }) => what === '/tmp')?.why).toContain('/tmp/* (more than 500 names)');
  });

  it('has of opens that were counted in the kernel how many they were, and when the first and the last', () => {
    const counted = (second: number, first: number, last: number, count: number): TraceEvent =>
      event('opencount', second, {
        path: '/srv/a',
        errno: null,
        flags: ['O_RDWR'],
        count: String(count),
        first: at(first),
        last: at(last),
      });
    const counts = [counted(20, 12, 19, 1000), counted(21, 20, 21, 5)];
    const { paths } = merge(
      observe([...counts, opened(21, '/srv/a')], { trackers: [...ran, counting], to: at(29) }),
      observe([opened(30, '/srv/a')], { from: at(29) }),
    );
    expect(paths.find(({ access }) => access === 'WRITE')).toMatchObject({ first: at(12), last: at(21), count: 1005 });
    expect(paths.find(({ access }) => access === 'READ')).toMatchObject({ first: at(12), last: at(30), count: 1006 });
  });

  it('lacks what some session did not watch while no other did', () => {
    const observer = new Observer({ containers: new Set([web.id]), from: null, to: null, trackers });
    const source = { options: {}, excluded: [] };
    observer.begin({ ...source, id: 'a', trackers: ['syscount', 'exec'], from: at(0), to: at(10) });
    observer.begin({ ...source, id: 'b', trackers: ran, from: at(10), to: at(20) });
    const { unobserved } = observer.build(new Missing(), at(59));
    expect(unobserved).toContain('files');
    expect(unobserved).not.toContain('syscalls');
    const parts = [
      observe([], { trackers: ['syscount', 'exec'], from: at(0), to: at(10) }),
      observe([], { from: at(10), to: at(20) }),
    ] as const;
    expect(merge(...parts).unobserved).toEqual(unobserved);
  });

  it('has what two sessions watched side by side', () => {
    const observer = new Observer({ containers: new Set([web.id]), from: null, to: null, trackers });
    const source = { options: {}, excluded: [], from: at(0), to: at(10) };
    observer.begin({ ...source, id: 'a', trackers: ['syscount'] });
    observer.begin({ ...source, id: 'b', trackers: ran.filter((name) => name !== 'syscount') });
    expect(observer.build(new Missing(), at(59)).unobserved).toEqual([]);
  });

  it('has one path for what has another number each time', () => {
    expect(stablePath('/proc/123/task/124/status')).toBe('/proc/PID/task/TID/status');
    expect(stablePath('/proc/1/fd/7')).toBe('/proc/PID/fd/FD');
    expect(stablePath('/tmp/#17 (deleted)')).toBe('/tmp/#17');
    expect(stablePath('/srv/made//')).toBe('/srv/made');
    expect(stablePath('//')).toBe('/');
    // Nothing that a container calls a file stands for all names of its directory.
    expect(stablePath('/etc/ (deleted)')).toBe('/etc');
    expect(stablePath('/memfd:x (deleted)')).toBeNull();
    expect(stablePath('pipe:[7]')).toBeNull();
  });
});

describe('a recommendation', () => {
  it('allows what programs called, and of the runtime what it needs under the profile', () => {
    const made = advise([
      call(1, 'mount', 3, 0, runtime),
      call(2, 'read', 5),
      call(3, 'openat', 2, 2),
      event('seccomp', 4, { name: 'keyctl', action: 'ERRNO', errno: 'EPERM' }),
      call(4, 'keyctl', 1, 1),
    ]);
    expect(allowed(made)).toEqual([
      'capset',
      'execve',
      'exit',
      'exit_group',
      'openat',
      'read',
      'restart_syscall',
      'rt_sigreturn',
    ]);
    expect(made.rights.seccomp).toMatchObject({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 1 });
    expect(lineOf(made, 'CALL', 'read')).toMatchObject({
      phase: 'RUN',
      evidence: { programs: ['web'], first: at(2), last: at(2), count: 5 },
    });
    expect(lineOf(made, 'CALL', 'capset')).toMatchObject({ phase: 'RUNTIME', evidence: null });
  });

  it('lets clone make no namespaces where none were made, and has no clone3 where it was refused', () => {
    expect(advise([call(1, 'clone'), call(1, 'clone3', 1, 1)]).rights.seccomp.syscalls.slice(1)).toEqual([
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      },
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 },
    ]);
    const makes = event('privilege', 2, { privilegeCall: 'CLONE', command: null, errno: null, targetComm: null });
    expect(allowed(advise([call(1, 'clone'), makes]))).toContain('clone');
  });

  it('adds back the capabilities that were used, and not those that were asked for without success', () => {
    const made = advise([
      check(1, 'CAP_SYS_ADMIN', 'mount', true, runtime),
      check(2, 'CAP_CHOWN', 'fchown'),
      check(2, 'CAP_SYS_ADMIN', 'mount', false),
      check(3, 'CAP_SYS_TIME', 'settimeofday'),
      call(3, 'settimeofday', 2, 2),
    ]);
    expect(made.rights.capabilities).toEqual(['CAP_CHOWN']);
  });

  it('mounts the fewest directories that have to be writable, and leaves the root read-only', () => {
    const made = advise([
      opened(1, '/tmp/a/b', 'O_WRONLY'),
      opened(1, '/tmp/c', 'O_RDWR'),
      opened(2, '/var/lib/web/data/1', 'O_WRONLY'),
      opened(2, '/var/log/web/access.log', 'O_WRONLY'),
      opened(2, '/etc/web.conf'),
      opened(2, '/dev/null', 'O_WRONLY'),
    ]);
    expect(made.rights.readOnlyRoot).toBe(true);
    expect(made.rights.tmpfs.map(({ path }) => path)).toEqual(['/tmp', '/var/log/web']);
    expect(made.rights.volumes).toEqual([{ path: '/var/lib/web', writable: true }]);
    expect(advise([opened(1, '/etc/web.conf', 'O_WRONLY')]).rights.readOnlyRoot).toBe(false);
  });

  it.each(['4026531832', '4026531840', HOST])(
    'leaves out what a runtime does before it has its name, in %s',
    (mountNs) => {
      const made = advise([
        ...['exe', '6', 'memfd:runc_clon', 'runc', 'runc:[0:PARENT]', 'crun'].map((comm) =>
          call(1, 'mount', 2, 0, { comm, mountNs }),
        ),
        event('exec', 1, { executable: '(unreachable)/', errno: null }, { comm: 'runc', mountNs }),
        call(2, 'read', 1, 0, { uid: 33, gid: 33, mountNs: INSIDE }),
      ]);
      expect(allowed(made)).not.toContain('mount');
      expect(made.rights.user).toBe('33:33');
      expect(made.coverage).toMatchObject({ programs: [], startSeen: false });
    },
  );

  it('allows what programs call that have the names of a runtime', () => {
    const made = advise([
      call(1, 'mount', 1, 0, { comm: 'exe', mountNs: INSIDE }),
      call(1, 'chroot', 1, 0, { comm: 'runc', mountNs: INSIDE }),
      call(1, 'read', 1, 0, { comm: '6', mountNs: null }),
      // Of the host, and by its own program.
      call(1, 'setns', 1, 0, { comm: 'nsenter', mountNs: HOST }),
    ]);
    expect(allowed(made)).toEqual(expect.arrayContaining(['mount', 'chroot', 'read', 'setns']));
    expect(made.coverage.startSeen).toBe(false);
  });

  it('says how far it can be trusted', () => {
    const whole = observe([call(1, 'pivot_root', 1, 0, runtime), call(2, 'read')]);
    const options: RecommendOptions = { current: null, runtimeCalls: [], action: 'SCMP_ACT_LOG' };
    expect(recommend(whole, options).coverage).toMatchObject({ startSeen: true, complete: true, saturation: 0 });
    const late = recommend(merge(whole, { ...observe([call(50, 'write')]), lost: 2 }), options).coverage;
    expect(late).toMatchObject({ complete: false, newCalls: 1, saturation: 0.5, lastNewCall: at(50) });
    expect(late.reasons).toEqual([
      '2 events were lost in the kernel',
      '1 system call appeared first in the last half of the time',
    ]);
  });
});

it('says of which calls arguments are filtered, and what differs in them', () => {
  const [two, request] = [asked(1, 'socket', 2), asked(1, 'ioctl', 0x5401)];
  const filtering = (...events: readonly TraceEvent[]) =>
    advise(events).problems.filter((text) => /argument/i.test(text));
  expect(filtering(call(1, 'read'))).toEqual(['No arguments are filtered.']);
  expect(filtering(two, asked(50, 'ioctl', 1))).toEqual([
    'Arguments are filtered for socket only.',
    'ioctl: allowed with any argument, for one of these reasons: not all were seen, there are more than 16, some came late, or ' +
      'the runtime makes the call too.',
  ]);
  expect(filtering(two, request)).toEqual(['Arguments are filtered for socket and ioctl only.']);
  const differences = (before: readonly TraceEvent[], after: readonly TraceEvent[]) =>
    diffRights(advise(before).rights, advise(after).rights).map(({ what, before: was, after: is }) => [what, was, is]);
  expect(differences([two], [two, asked(2, 'socket', 10)])).toEqual([
    ['socket', 'allowed with 2 only', 'allowed with 2 and 10 only'],
  ]);
  expect(differences([request], [request, asked(50, 'ioctl', 1)])).toEqual([
    ['ioctl', 'allowed with 0x5401 only', 'allowed'],
  ]);
});

it('has a line for each call of rights that were tried, and none for others', () => {
  const { lines, rights } = advise([call(1, 'read'), call(2, 'write')]);
  const tried = { ...rights.seccomp, syscalls: [{ names: ['bpf', 'read'], action: 'SCMP_ACT_ALLOW' }] } as const;
  const made = withCallsOf(lines, tried);
  expect(made.filter(({ aspect }) => aspect === 'CALL')).toEqual([
    { aspect: 'CALL', what: 'bpf', why: 'is in the rights that were tried', phase: 'RUN', evidence: null },
    lines.find(({ what }) => what === 'read'),
  ]);
  expect(made.filter(({ aspect }) => aspect !== 'CALL')).toEqual(lines.filter(({ aspect }) => aspect !== 'CALL'));
  const filtered = advise([asked(1, 'ioctl', 7)]);
  const why = (...args: readonly SeccompArgument[]) => {
    const syscalls = [{ names: ['ioctl'], action: 'SCMP_ACT_ALLOW', args }] as const;
    return withCallsOf(filtered.lines, { ...tried, syscalls })[0]?.why;
  };
  expect(why({ index: 1, value: 0x5401, op: 'SCMP_CMP_EQ' })).toBe('was seen, with 0x5401 only');
  expect(why({ index: 0, value: 1, op: 'SCMP_CMP_EQ' })).toBe('was seen, with some arguments only');
  expect(why()).toBe('was seen');
});
