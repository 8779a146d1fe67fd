import { readFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { capabilityNames } from '../../src/linux/capability.js';
import { errnoName } from '../../src/linux/linux.js';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, run, scratch, start } from '../support/workload.js';
import { itNarrow } from '../support/narrow.js';

let program = '';
beforeAll(async () => {
  program = await compileC('privileged', readFileSync(join(root, 'test/support/privilege.c'), 'utf8'), '-static');
});

const mine = { pids: [process.pid] };

interface Line {
  readonly result: number;
  /** As /proc/PID/status has it. */
  readonly Uid: readonly number[];
  readonly Gid: readonly number[];
  readonly caps: readonly (readonly string[])[];
  readonly noNewPrivs: boolean;
  readonly seccomp: number;
  readonly spaces: readonly number[];
}

/** What the workload printed: of the start, and after each call. */
function linesOf(stdout: string): Line[] {
  return stdout.split('\n').map((line) => {
    const [result = '', uid = '', gid = '', ...rest] = line.split('|');
    const numbers = (text: string) => text.split('\t').map(Number);
    return {
      result: Number(result),
      Uid: numbers(uid),
      Gid: numbers(gid),
      caps: rest.slice(0, 5).map((hex) => capabilityNames(BigInt(`0x${hex}`))),
      noNewPrivs: rest[5] === '1',
      seccomp: Number(rest[6]),
      spaces: rest.slice(7).map((text) => Number.parseInt(text)),
    };
  });
}

/** The fields of an event that say the same as a line. */
function expectState(event: Seen | undefined, when: 'Before' | 'After', line: Line | undefined): void {
  const of = (names: readonly string[]) => names.map((name) => event?.[`${name}${when}`]);
  // In a user namespace of its own the process reads other ids than those of the initial one.
  if (event?.[`userNsLevel${when}`] === 0) {
    expect(of(['uid', 'euid', 'suid', 'fsuid'])).toEqual(line?.Uid);
    expect(of(['gid', 'egid', 'sgid', 'fsgid'])).toEqual(line?.Gid);
  }
  expect(of(['capInheritable', 'capPermitted', 'capEffective', 'capBounding', 'capAmbient'])).toEqual(line?.caps);
  expect(of(['noNewPrivs', 'seccompMode'])).toEqual([
    line?.noNewPrivs,
    ['DISABLED', 'STRICT', 'FILTER'][line?.seccomp ?? 0],
  ]);
  expect(of(['userNs', 'mountNs', 'pidNs', 'netNs', 'utsNs', 'ipcNs', 'cgroupNs', 'timeNs'])).toEqual(line?.spaces);
}

/** The names of the fields that a call changed. */
const changed = (event: Seen | undefined) => ((event?.['changes'] ?? []) as string[]).map((text) => text.split(' ')[0]);

async function traced(what: string, options: TrackOptions = {}, ...args: readonly string[]) {
  const tracked = await startTracker('privilege', { ...mine, ...options });
  const { pid, stdout, code } = await run(program, [what, ...args]);
  expect(code).toBe(0);
  const [first, ...lines] = linesOf(stdout);
  await until('all are here', () => tracked.events.length >= lines.length);
  const events = await tracked.stop();
  return { tracked, pid, first, lines, events };
}

/** Each call has one event with its result; before it is what /proc told before the call, after it what /proc told then. */
async function exactly(what: string, expected: readonly Readonly<Record<string, unknown>>[], ...args: string[]) {
  const done = await traced(what, {}, ...args);
  const { pid, first, lines, events } = done;
  for (const [i, one] of expected.entries()) {
    const result = lines[i]?.result ?? 0;
    expect([i, events[i]]).toMatchObject([
      i,
      { ...one, errno: result < 0 ? errnoName(-result) : null, process: { pid }, tracker: 'privilege' },
    ]);
  }
  expect(events).toHaveLength(expected.length);
  let before = first;
  for (const [i, event] of events.entries()) {
    expectState(event, 'Before', before);
    before = lines[i];
    if (event['privilegeOperation'] !== 'CLONE') expectState(event, 'After', before);
    expect([event.process.uid, event.process.gid]).toEqual([event['uidBefore'], event['gidBefore']]);
    expect(event.process.mountNs).toBe(String(event['mountNsBefore']));
  }
  return done;
}

describe('the tracker privilege', () => {
  it('reports user and group ids, before and after as /proc has them', async () => {
    const { events } = await exactly('ids', [
      { privilegeOperation: 'SET_GROUPS', privilegeCall: 'SETGROUPS', arguments: ['size=0'], changes: [] },
      {
        privilegeOperation: 'SET_GID',
        privilegeCall: 'SETRESGID',
        arguments: ['rgid=1000', 'egid=-1', 'sgid=1001'],
        changes: ['gid 0 → 1000', 'sgid 0 → 1001'],
      },
      { privilegeCall: 'SETFSGID', arguments: ['gid=78'], result: '0', changes: ['fsgid 0 → 78'] },
      { privilegeCall: 'SETREGID', arguments: ['rgid=-1', 'egid=1001'] },
      { privilegeCall: 'SETGID', arguments: ['gid=1002'] },
      { privilegeOperation: 'SET_UID', privilegeCall: 'SETFSUID', arguments: ['uid=77'], result: '0' },
      { privilegeCall: 'SETREUID', arguments: ['ruid=1000', 'euid=-1'] },
      {
        privilegeCall: 'SETRESUID',
        arguments: ['ruid=-1', 'euid=1001', 'suid=-1'],
        capabilitiesGained: [],
        capEffectiveAfter: [],
      },
      {
        privilegeCall: 'SETRESUID',
        arguments: ['ruid=-1', 'euid=0', 'suid=-1'],
        capabilitiesLost: [],
        capEffectiveBefore: [],
      },
      { privilegeCall: 'SETUID', arguments: ['uid=1002'], capPermittedAfter: [] },
      { privilegeCall: 'SETUID', arguments: ['uid=0'], result: null, changes: [] },
    ]);
    const [lost, gained] = [events[7], events[8]];
    expect(lost?.['capabilitiesLost']).toEqual(lost?.['capEffectiveBefore']);
    expect(lost?.['capabilitiesLost']).toContain('CAP_SYS_ADMIN');
    expect(gained?.['capabilitiesGained']).toEqual(gained?.['capEffectiveAfter']);
  });

  it('reports capabilities, prctl and seccomp, and a call that seccomp refuses', async () => {
    const { events } = await exactly('caps', [
      {
        privilegeOperation: 'PRCTL',
        privilegeCall: 'PRCTL',
        command: 'PR_CAPBSET_DROP',
        arguments: ['cap=CAP_SYS_MODULE'],
        changes: ['capBounding -CAP_SYS_MODULE'],
      },
      {
        command: 'PR_SET_SECUREBITS',
        arguments: ['bits=SECBIT_NO_SETUID_FIXUP|SECBIT_KEEP_CAPS'],
        flags: ['SECBIT_NO_SETUID_FIXUP', 'SECBIT_KEEP_CAPS'],
        securebitsBefore: [],
        securebitsAfter: ['SECBIT_NO_SETUID_FIXUP', 'SECBIT_KEEP_CAPS'],
        changes: ['securebits none → SECBIT_NO_SETUID_FIXUP|SECBIT_KEEP_CAPS'],
      },
      {
        privilegeOperation: 'SET_CAPABILITIES',
        privilegeCall: 'CAPSET',
        command: null,
        arguments: [
          'effective=CAP_CHOWN|CAP_NET_ADMIN',
          'permitted=CAP_CHOWN|CAP_SETPCAP|CAP_NET_ADMIN|CAP_BPF',
          'inheritable=CAP_NET_ADMIN',
        ],
        capEffectiveAfter: ['CAP_CHOWN', 'CAP_NET_ADMIN'],
        capabilitiesGained: [],
      },
      {
        command: 'PR_CAP_AMBIENT',
        arguments: ['operation=PR_CAP_AMBIENT_RAISE', 'cap=CAP_NET_ADMIN'],
        changes: ['capAmbient +CAP_NET_ADMIN'],
      },
      { command: 'PR_CAP_AMBIENT', arguments: ['operation=PR_CAP_AMBIENT_RAISE', 'cap=CAP_SYS_ADMIN'], changes: [] },
      { command: 'PR_CAP_AMBIENT', arguments: ['operation=PR_CAP_AMBIENT_CLEAR_ALL'], capAmbientAfter: [] },
      { privilegeCall: 'CAPSET', arguments: ['effective=?', 'permitted=?', 'inheritable=?'], changes: [] },
      { command: 'PR_SET_DUMPABLE', arguments: ['dumpable=SUID_DUMP_USER'], changes: [] },
      { command: 'PR_SET_NO_NEW_PRIVS', arguments: ['value=1'], changes: ['noNewPrivs false → true'] },
      {
        privilegeOperation: 'SECCOMP',
        command: 'SECCOMP_SET_MODE_FILTER',
        flags: ['SECCOMP_FILTER_FLAG_LOG'],
        changes: ['seccompMode DISABLED → FILTER'],
      },
      { privilegeCall: 'UNSHARE', flags: ['CLONE_NEWUTS'], changes: [], seccompModeBefore: 'FILTER' },
    ]);
    expect(events.at(-1)?.['errno']).toBe('ENOTTY');
  });

  it('reports namespaces that are left, joined and made for a child, and whose they are', async () => {
    const { events, lines, first } = await exactly('namespaces', [
      {
        privilegeOperation: 'UNSHARE',
        privilegeCall: 'UNSHARE',
        arguments: ['flags=CLONE_NEWUTS|CLONE_NEWIPC'],
        flags: ['CLONE_NEWUTS', 'CLONE_NEWIPC'],
        targetPid: null,
      },
      { privilegeCall: 'UNSHARE', flags: ['0x1'], changes: [] },
      { privilegeCall: 'UNSHARE', flags: ['CLONE_FILES'], changes: [] },
      {
        privilegeOperation: 'JOIN_NAMESPACE',
        privilegeCall: 'SETNS',
        flags: ['CLONE_NEWUTS'],
        resolvedState: 'ANONYMOUS',
        targetPid: null,
      },
      { privilegeCall: 'SETNS', flags: ['CLONE_NEWIPC'], resolved: 'anon_inode:[pidfd]', targetPid: process.pid },
      {
        privilegeCall: 'SETNS',
        arguments: ['fd=-1', 'nstype=CLONE_NEWNET'],
        resolved: null,
        targetPid: null,
        changes: [],
      },
      {
        privilegeOperation: 'CLONE',
        privilegeCall: 'CLONE',
        flags: ['CLONE_NEWUSER', 'CLONE_NEWPID'],
        targetComm: 'privileged',
      },
      { privilegeCall: 'CLONE', flags: ['CLONE_FS', 'CLONE_NEWNS'], targetPid: null, result: null },
      {
        privilegeCall: 'CLONE3',
        flags: ['CLONE_NEWCGROUP', 'CLONE_NEWNET'],
        arguments: ['flags=CLONE_NEWCGROUP|CLONE_NEWNET'],
      },
      { privilegeCall: 'CLONE3', flags: ['CLONE_FS', 'CLONE_NEWNS'], targetPid: null },
      { privilegeCall: 'UNSHARE', flags: ['CLONE_NEWUSER'], userNsLevelBefore: 0, userNsLevelAfter: 1 },
    ]);
    expect(events[3]?.['resolved']).toBe(`uts:[${first?.spaces[4]}]`);
    for (const i of [6, 8]) {
      const event = events[i];
      expect(event?.['result']).toBe(String(lines[i]?.result));
      // The same number in this test's pid namespace, if that is the initial one.
      expect(event?.['targetPid']).toEqual(expect.any(Number));
    }
    expect(changed(events[6])).toEqual(expect.arrayContaining(['userNs', 'userNsLevel', 'pidNs']));
    expect(changed(events[8])).toEqual(['netNs', 'cgroupNs']);
  });

  it('reports a new root, with the path that it has', async () => {
    const folder = join(scratch, 'privilege-root');
    await mkdir(folder);
    const { events } = await traced('root', {}, folder);
    expect(events).toMatchObject([
      { privilegeCall: 'CHROOT', errno: 'ENOENT', path: 'nowhere', directory: folder, resolved: null },
      { privilegeCall: 'PIVOT_ROOT', path: 'below', oldRoot: 'below/old', parameters: null },
      {
        privilegeOperation: 'CHANGE_ROOT',
        privilegeCall: 'CHROOT',
        errno: null,
        arguments: ['path="below"'],
        directory: folder,
        resolved: join(folder, 'below'),
        resolvedState: 'ROOTED',
      },
    ]);
  });

  it('reports whom a process traces, and whose memory and descriptors it takes', async () => {
    const { events, pid } = await traced('trace');
    const child = events[0]?.['targetPid'];
    const done = { targetPid: child, targetComm: 'privileged', targetUid: 0, errno: null };
    expect(events).toMatchObject([
      {
        ...done,
        privilegeOperation: 'WRITE_MEMORY',
        result: '8',
        arguments: [`pid=${String(child)}`, 'liovcnt=1', 'riovcnt=1'],
      },
      { ...done, privilegeOperation: 'READ_MEMORY', result: '8' },
      { privilegeOperation: 'READ_MEMORY', errno: 'ESRCH', targetPid: null, targetComm: null },
      { ...done, privilegeOperation: 'TAKE_DESCRIPTOR', privilegeCall: 'PIDFD_GETFD', resolvedState: 'ANONYMOUS' },
      {
        ...done,
        privilegeOperation: 'TRACE',
        command: 'PTRACE_SEIZE',
        flags: ['PTRACE_O_TRACEEXEC', 'PTRACE_O_EXITKILL'],
        arguments: [`pid=${String(child)}`, 'options=PTRACE_O_TRACEEXEC|PTRACE_O_EXITKILL'],
      },
      { ...done, command: 'PTRACE_POKEDATA' },
      { ...done, command: 'PTRACE_DETACH', arguments: [`pid=${String(child)}`, 'signal=SIGUSR1'] },
      { command: 'PTRACE_ATTACH', errno: 'ESRCH', arguments: ['pid=4000000'], targetPid: null },
      { command: 'PTRACE_TRACEME', arguments: [], targetPid: pid, targetComm: 'privileged' },
    ]);
    expect(child).not.toBe(pid);
    expect(events.at(-1)?.process.ppid).toBe(pid);
  });

  it('reports memfds, keys, BPF, modules, kexec and performance counters by what they are called with', async () => {
    const calls = [
      {
        privilegeOperation: 'CREATE_MEMFD',
        arguments: ['name="secret"', 'flags=MFD_CLOEXEC|MFD_ALLOW_SEALING'],
        objectName: 'secret',
      },
      { privilegeCall: 'MEMFD_CREATE', arguments: ['name=?', 'flags=0'], objectName: null },
      { privilegeOperation: 'USERFAULTFD', flags: ['UFFD_USER_MODE_ONLY', 'O_CLOEXEC'] },
      { privilegeOperation: 'KEY', command: 'KEYCTL_JOIN_SESSION_KEYRING', objectName: 'eunomia-ring' },
      { privilegeCall: 'ADD_KEY', objectType: 'user', objectName: 'eunomia:key', command: null },
      { privilegeCall: 'REQUEST_KEY', objectType: 'user', objectName: 'eunomia:none' },
      { command: 'KEYCTL_CLEAR', arguments: ['key=-3'] },
      {
        privilegeOperation: 'BPF',
        command: 'BPF_MAP_CREATE',
        objectType: 'BPF_MAP_TYPE_ARRAY',
        objectName: 'counts',
        arguments: ['map_type=BPF_MAP_TYPE_ARRAY', 'max_entries=3', 'map_name="counts"'],
      },
      { command: 'BPF_PROG_LOAD', objectType: 'BPF_PROG_TYPE_SOCKET_FILTER', objectName: 'nothing' },
      { command: 'BPF_OBJ_GET', path: '/no/such/pin', objectType: null },
      { privilegeOperation: 'LOAD_MODULE', privilegeCall: 'INIT_MODULE', parameters: 'a=1' },
      {
        privilegeCall: 'FINIT_MODULE',
        parameters: 'b=2',
        flags: ['MODULE_INIT_IGNORE_MODVERSIONS'],
        resolved: '/etc/hostname',
      },
      { privilegeOperation: 'UNLOAD_MODULE', objectName: 'no_such_module', flags: ['O_NONBLOCK'] },
      {
        privilegeOperation: 'KEXEC',
        privilegeCall: 'KEXEC_LOAD',
        arguments: ['entry=0x0', 'nr_segments=0', 'flags=0x100000'],
      },
      { privilegeCall: 'KEXEC_FILE_LOAD', parameters: 'run', flags: ['0x100000'] },
      { privilegeOperation: 'PERF_EVENT', targetPid: process.pid, flags: ['PERF_FLAG_FD_CLOEXEC'] },
      ...(process.arch === 'x64'
        ? [
            { privilegeOperation: 'IO_PORTS', privilegeCall: 'IOPL', arguments: ['level=0'] },
            { privilegeCall: 'IOPERM', arguments: ['from=0', 'num=1', 'turn_on=0'] },
          ]
        : []),
    ];
    const { events, lines } = await exactly('rest', calls);
    expect(events.map((event) => event['result'])).toEqual(
      lines.map(({ result }) => (result < 0 ? null : String(result))),
    );
  });

  itNarrow('reports 32-bit calls, with ids of 16 bits widened', async () => {
    await exactly('compat', [
      { privilegeCall: 'UNSHARE', flags: ['CLONE_NEWUTS'] },
      { command: 'PR_CAPBSET_DROP', arguments: ['cap=CAP_SYS_BOOT'] },
      { privilegeCall: 'SETRESUID', arguments: ['ruid=-1', 'euid=1000', 'suid=-1'] },
      { privilegeCall: 'SETRESUID', arguments: ['ruid=-1', 'euid=0', 'suid=-1'] },
      { command: 'PTRACE_ATTACH', arguments: ['pid=4000000'] },
    ]);
  });

  it('has the same calls without what was before them', async () => {
    const told = ({ events }: { readonly events: readonly Seen[] }, ...fields: readonly string[]) =>
      events.map((event) => fields.map((field) => event[field]));
    const fields = ['privilegeCall', 'arguments', 'errno', 'euidAfter'];
    const [whole, without] = [await filtered('ids', {}), await filtered('ids', { options: { before: false } })];
    expect(told(without, ...fields)).toEqual(told(whole, ...fields));
    expect(without.events.length).toBeGreaterThan(1);
    for (const { errno, changes, euidBefore } of without.events)
      expect([changes === null, euidBefore === null]).toEqual([errno === null, errno === null]);
    for (const { changes } of whole.events) expect(changes).not.toBeNull();
  });

  it('is selected and filtered in the kernel', async () => {
    for (const [what, options, where, count] of [
      ['ids', { failedOnly: true }, undefined, 1],
      ['ids', { operations: ['SET_UID'] }, undefined, 6],
      ['namespaces', { operations: ['CLONE'], failedOnly: true }, undefined, 2],
      ['trace', { operations: ['TRACE'], routine: true }, undefined, 7],
      ['ids', {}, 'privilegeOperation == "SET_GID"', 4],
      ['ids', {}, 'privilegeCall == "SETRESUID" || privilegeCall == "SETREUID"', 3],
      ['ids', {}, 'errno == "EPERM"', 1],
      ['ids', {}, 'euidBefore != 0', 2],
      ['ids', {}, 'euidBefore == 0 && euidAfter == 1001', 1],
      ['ids', {}, 'process.uid == 1000', 3],
      ['ids', {}, 'process.gid == 1002', 6],
      ['caps', {}, 'command == "PR_CAP_AMBIENT"', 3],
      ['caps', {}, 'command != "PR_CAP_AMBIENT"', 5],
      ['namespaces', {}, `targetPid == ${process.pid}`, 1],
      ['rest', {}, 'objectName == "secret"', 1],
      ['rest', {}, 'path == "/no/such/pin"', 1],
    ] as const) {
      const { events, tracked } = await filtered(what, { options, ...(where === undefined ? {} : { where }) });
      const { produced, discarded } = await tracked.stats();
      expect([what, options, where, produced, discarded]).toEqual([what, options, where, count, 0]);
      expect(events).toHaveLength(count);
    }
  });

  it('a target holds an event of either process, and a user that changes is the one before', async () => {
    const sleeper = start('sleep', ['600']);
    const pid = sleeper.pid ?? 0;
    const tracked = await startTracker('privilege', { pids: [pid] });
    await run(program, ['seize', String(pid)]);
    expect(await tracked.next(({ privilegeCall: call }) => call === 'PTRACE')).toMatchObject({
      targetPid: pid,
      targetComm: 'sleep',
    });
    expect(await tracked.stop()).toHaveLength(1);
    sleeper.kill();
    const changed = await startTracker('privilege', { uids: [1000] });
    await run(program, ['ids']);
    const events = (await changed.stop()).filter(({ process: { comm } }) => comm === 'privileged');
    expect(events.map(({ privilegeCall: call, process: { uid } }) => [call, uid])).toEqual([
      ['SETRESUID', 1000],
      ['SETRESUID', 1000],
      ['SETUID', 1000],
    ]);
  });

  it('counts each call that a small ring loses: produced = lost + received', async () => {
    const [each, processes] = [40_000, 3];
    await expectExactLoss('privilege', mine, each * processes, () =>
      run(program, ['burst', String(each), String(processes)]),
    );
  });
});

async function filtered(what: string, options: TrackOptions) {
  const tracked = await startTracker('privilege', { ...mine, ...options });
  await run(program, [what]);
  return { tracked, events: await tracked.stop() };
}

describe('the same calls, seen by strace', () => {
  const calls =
    'setuid,setgid,setreuid,setregid,setresuid,setresgid,setfsuid,setfsgid,setgroups,capset,setns,unshare,ptrace,process_vm_readv,' +
    'process_vm_writev,pidfd_getfd,bpf,memfd_create,userfaultfd,add_key,request_key,keyctl,prctl,seccomp,perf_event_open';
  /** What is a name in arguments, of strace and of ours. */
  const names =
    /(?<![A-Z_])(?:CAP|CLONE|PR|PTRACE_O|SECBIT|SECCOMP_(?:SET|FILTER)|SUID_DUMP|MFD|UFFD|BPF_(?:MAP|PROG|OBJ)|KEYCTL|PERF_FLAG)_\w+|"\w[^"]*"/g;
  const idCall = /^set(re|res|fs)?[ug]id$/;

  it.each(['ids', 'caps', 'namespaces', 'rest'])('have the same names, ids and results: %s', async (what) => {
    const log = join(scratch, `privilege-${what}.strace`);
    const tracked = await startTracker('privilege', mine);
    await run('strace', ['-e', `trace=${calls}`, '-o', log, program, what]);
    const theirs = (await readFile(log, 'utf8'))
      .split('\n')
      .filter((line) => /^\w+\(/.test(line) && !line.includes('PR_SET_NAME'))
      .map((line) => {
        const [, call = '', args = '', result = ''] = /^(\w+)\((.*)\)\s+= (.*)$/.exec(line) ?? [];
        const errno = /^-1 (E\w+)/.exec(result)?.[1] ?? null;
        const said = idCall.test(call) ? args.split(', ') : (args.replace('license="GPL"', '').match(names) ?? []);
        return [call, errno, ...said.sort()];
      });
    const ours = (await tracked.stop())
      .filter(
        ({ process: { comm }, privilegeOperation: operation }) =>
          comm === 'privileged' && !/CLONE|MODULE|KEXEC|IO_PORTS/.test(String(operation)),
      )
      .map((event) => {
        const call = String(event['privilegeCall']).toLowerCase();
        const args = event['arguments'] as string[];
        const said = idCall.test(call)
          ? args.map((text) => text.split('=')[1] ?? '')
          : ([event['command'] ?? '', ...args].join(' ').match(names) ?? []);
        return [call, event['errno'], ...said.sort()];
      });
    expect(theirs.length).toBeGreaterThan(5);
    expect(ours).toEqual(theirs);
  });
});
