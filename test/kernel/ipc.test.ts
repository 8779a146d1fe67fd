import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ipcSource } from '../support/ipc.js';
import { expectExactLoss } from '../support/loss.js';
import { itNarrow } from '../support/narrow.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { compileC, ended, run, scratch, start } from '../support/workload.js';

let program = '';
beforeAll(async () => {
  program = await compileC('ipcload', ipcSource, '-lrt');
});

const mine = { pids: [process.pid] };
/** Of this test alone: other tests may run beside it. */
const KEY = 0x6a000000 + (process.pid & 0xffff);
const name = `/eunomia-${process.pid}`;

async function watched(args: readonly string[], options: TrackOptions = mine, tool: readonly string[] = []) {
  const tracked = await startTracker('ipc', options);
  const [file = '', ...rest] = [...tool, program, ...args];
  const { pid, code, stdout } = await run(file, rest);
  expect(code).toBe(0);
  const events = await tracked.stop();
  const stats = await tracked.stats();
  expect(stats).toMatchObject({ produced: events.length, received: events.length, lost: 0, discarded: 0 });
  return { pid, lines: stdout.split('\n'), events };
}

const plain = ({ process: { pid }, ...event }: Seen): Readonly<Record<string, unknown>> => ({ pid, ...event });
/** "OPERATION result" for each event, as the program prints it. */
const told = (events: readonly Seen[], results: ReadonlyMap<string, (event: Seen) => unknown> = new Map()) =>
  events.map((event) => {
    const operation = String(event['ipcOperation']);
    return [operation, event['errno'] ?? results.get(operation)?.(event) ?? 'ok'];
  });
const ERRNO: Readonly<Record<string, string>> = {
  '-2': 'ENOENT',
  '-9': 'EBADF',
  '-11': 'EAGAIN',
  '-22': 'EINVAL',
  '-42': 'ENOMSG',
  '-43': 'EIDRM',
  '-110': 'ETIMEDOUT',
};
const said = (lines: readonly string[]) =>
  lines
    .filter((line) => /^[A-Z]+_[A-Z]+ /.test(line))
    .map((line) => line.split(' '))
    .map(([operation = '', result = '']) => [operation, result.startsWith('-') ? ERRNO[result] : 'ok']);

describe('the tracker ipc', () => {
  it('reports System V shared memory, messages and semaphores, with id, key, size, flags and commands', async () => {
    const { pid, lines, events } = await watched(['sysv', String(KEY)]);
    expect(told(events)).toEqual(said(lines));
    const [, id, key, size, creator] =
      lines
        .find((line) => line.startsWith('segment'))
        ?.split(' ')
        .map(Number) ?? [];
    expect([key, size, creator]).toEqual([KEY, 12345, pid]);
    const segment = { ipcId: id, key: KEY, sizeBytes: '12345' };
    const at = (operation: string) => events.filter((event) => event['ipcOperation'] === operation).map(plain);
    expect(at('SHM_GET')).toMatchObject([
      { pid, ipcId: null, key: KEY, sizeBytes: '100', flags: [], mode: 0o600, peerPid: null, errno: 'ENOENT' },
      { pid, ...segment, flags: ['IPC_CREAT', 'IPC_EXCL'], mode: 0o640, peerPid: pid, peerComm: 'ipcload' },
    ]);
    expect(at('SHM_ATTACH')).toMatchObject([
      { ...segment, flags: ['SHM_RDONLY'], peerPid: pid, mode: null, controlCommand: null, durationNs: null },
      { ipcId: id, key: null, sizeBytes: null, errno: 'EINVAL', peerPid: null },
    ]);
    expect(at('SHM_CONTROL')).toMatchObject([
      { ...segment, controlCommand: 'IPC_STAT' },
      { ...segment, controlCommand: 'IPC_RMID' },
    ]);
    expect(at('SHM_DETACH')).toMatchObject([segment, { ipcId: null, key: null, sizeBytes: null, errno: 'EINVAL' }]);

    const queue = { key: KEY, ipcId: Number(lines.find((line) => line.startsWith('MSG_GET'))?.split(' ')[1]) };
    expect(at('MSG_GET')).toMatchObject([{ ...queue, flags: ['IPC_CREAT'], mode: 0o600, sizeBytes: null }]);
    expect(at('MSG_SEND')).toMatchObject([{ ...queue, sizeBytes: '5', messageType: '7', flags: [] }]);
    expect(at('MSG_RECEIVE')).toMatchObject([
      { ...queue, sizeBytes: '5', messageType: '7', flags: ['MSG_NOERROR'] },
      { ...queue, sizeBytes: null, messageType: null, flags: ['IPC_NOWAIT'], errno: 'ENOMSG' },
    ]);
    expect(at('MSG_CONTROL')).toMatchObject([{ ...queue, controlCommand: 'IPC_RMID' }]);

    const set = { key: KEY, ipcId: Number(lines.find((line) => line.startsWith('SEM_GET'))?.split(' ')[1]) };
    expect(at('SEM_GET')).toMatchObject([{ ...set, semaphores: 3, semaphore: null, flags: ['IPC_CREAT'] }]);
    expect(at('SEM_CONTROL')).toMatchObject([
      { ...set, semaphores: 3, controlCommand: 'SETVAL', semaphore: 1, semaphoreValue: 9 },
      { ...set, semaphores: 3, controlCommand: 'GETVAL', semaphore: 1, semaphoreValue: 9 },
      { ...set, semaphores: 3, controlCommand: 'IPC_RMID', semaphore: null, semaphoreValue: null },
    ]);
    expect(at('SEM_OPERATE')).toMatchObject([
      { ...set, semaphores: 3, semaphoreOperations: ['2: +5', '2: -1 SEM_UNDO', '0: 0 IPC_NOWAIT'] },
    ]);
    for (const event of at('SEM_OPERATE')) expect(Number(event['durationNs'])).toBeGreaterThan(0);
  });

  it('agrees with strace about each call', async () => {
    const file = join(scratch, 'ipc.strace');
    const calls = 'shmget,shmat,shmdt,shmctl,msgget,msgsnd,msgrcv,msgctl,semget,semop,semtimedop,semctl';
    const strace = ['strace', '-f', '-qq', '-o', file, '-e', `trace=${calls}`];
    const { events } = await watched(['sysv', String(KEY + 1)], mine, strace);
    const lines = (await readFile(file, 'utf8')).trim().split('\n');
    const ofStrace = lines.map((line) => {
      const [, call = '', argument = '', result = '', errno] =
        /^\d+ +(\w+)\(([^,)]*).*\) += (\S+)(?: (E\w+))?/.exec(line) ?? [];
      return {
        call: call.replace('timed', ''),
        argument: Number(argument),
        result: Number(result),
        errno: errno ?? null,
      };
    });
    const names: Readonly<Record<string, string>> = { SHM: 'shm', MSG: 'msg', SEM: 'sem' };
    const verbs: Readonly<Record<string, string>> = {
      ...{ GET: 'get', ATTACH: 'at', DETACH: 'dt', CONTROL: 'ctl', SEND: 'snd', RECEIVE: 'rcv', OPERATE: 'op' },
    };
    expect(
      events.map((event) => {
        const [kind = '', verb = ''] = String(event['ipcOperation']).split('_');
        return [`${names[kind]}${verbs[verb]}`, event['errno']];
      }),
    ).toEqual(ofStrace.map(({ call, errno }) => [call, errno]));
    events.forEach((event, i) => {
      const { call, argument, result } = ofStrace[i] ?? {};
      if (call === 'shmdt') return;
      const ofCall = call?.endsWith('get') ? (event['errno'] === null ? result : null) : argument;
      expect([call, event['ipcId']]).toEqual([call, ofCall]);
    });
  });

  it('has the time that a call waited, and the key of what is removed meanwhile', async () => {
    const { lines, events } = await watched(['wait']);
    const [set, queue] = (lines[0] ?? '').split(' ').map(Number);
    const timed = events.filter((event) => event['durationNs'] !== null);
    expect(timed).toMatchObject([
      { ipcOperation: 'SEM_OPERATE', ipcId: set, key: 0, errno: 'EAGAIN', semaphoreOperations: ['0: -1'] },
      { ipcOperation: 'MSG_RECEIVE', ipcId: queue, key: 0, errno: 'EIDRM', sizeBytes: null },
    ]);
    for (const event of timed) expect(Number(event['durationNs'])).toBeGreaterThan(100_000_000);
  });

  it('reports POSIX message queues by their names', async () => {
    const { lines, events } = await watched(['mq', name]);
    expect(told(events)).toEqual(said(lines));
    const fd = Number(lines[1]?.split(' ')[1]);
    expect(events).toMatchObject([
      { ipcOperation: 'MQ_OPEN', name, fd: null, mode: null, flags: ['O_RDWR'], errno: 'ENOENT' },
      { ipcOperation: 'MQ_OPEN', name, fd, mode: 0o600, flags: ['O_RDWR', 'O_CREAT', 'O_EXCL'] },
      { ipcOperation: 'MQ_SEND', name, fd, sizeBytes: '5', priority: 3, ipcId: null, key: null },
      { ipcOperation: 'MQ_RECEIVE', name, fd, sizeBytes: '5', priority: 3 },
      { ipcOperation: 'MQ_RECEIVE', name, fd, sizeBytes: null, priority: null, errno: 'ETIMEDOUT' },
      { ipcOperation: 'MQ_NOTIFY', name, fd, durationNs: null },
      { ipcOperation: 'MQ_NOTIFY', name: null, fd: 0, errno: 'EBADF' },
      { ipcOperation: 'MQ_UNLINK', name, fd: null },
      { ipcOperation: 'MQ_UNLINK', name, errno: 'ENOENT' },
    ]);
    expect(Number(events[4]?.['durationNs'])).toBeGreaterThan(100_000_000);
    expect(Number(events[3]?.['durationNs'])).toBeLessThan(100_000_000);
  });

  it.each(['call', 'many', 'twice', 'datagram', 'connected', 'uring'])(
    'reports descriptors that are passed, at the sender and at the receiver: %s',
    async (how) => {
      const file = join(scratch, `passed-${how}`);
      await writeFile(file, '');
      const { pid, lines, events } = await watched(['pass', how, file]);
      const [sender = 0, , ...sent] =
        lines
          .find((line) => line.startsWith('sender'))
          ?.split(' ')
          .slice(1)
          .map(Number) ?? [];
      const received = lines.filter((line) => line.startsWith('received')).map((line) => Number(line.split(' ')[1]));
      expect(received).toHaveLength(2);
      // The kernel puts the descriptors of several control messages into one.
      const messageFds = { sent: how === 'many' || how === 'twice' ? 1 : 2, received: how === 'many' ? 1 : 2 };
      const what = [
        { path: file, pathState: 'ROOTED', deleted: false, descriptorKind: 'FILE' },
        { pathState: 'ANONYMOUS', descriptorKind: 'PIPE' },
      ];
      const at = (operation: string) => events.filter((event) => event['ipcOperation'] === operation);
      const common = { errno: null, ipcId: null, key: null, name: null, durationNs: null };
      // The process at the other end: that made the socketpair, or that listens.
      const peerPid = how === 'datagram' ? null : pid;
      expect(at('FD_SEND').map(plain)).toMatchObject(
        sent.map((fd, i) => ({ pid: sender, ...common, ...what[i], fd, peerPid, messageFds: messageFds.sent })),
      );
      expect(at('FD_RECEIVE').map(plain)).toMatchObject(
        received.map((fd, i) => ({
          pid,
          ...common,
          ...what[i],
          fd,
          peerPid: sender,
          peerComm: 'ipcload',
          peerUid: 0,
          messageFds: messageFds.received,
        })),
      );
      expect(at('FD_RECEIVE')[1]?.['path']).toBe(at('FD_SEND')[1]?.['path']);
      expect(events).toHaveLength(4);
      if (how === 'call')
        expect([at('FD_SEND')[0]?.['flags'], at('FD_RECEIVE')[0]?.['flags']]).toEqual([
          ['MSG_NOSIGNAL'],
          ['MSG_CMSG_CLOEXEC'],
        ]);
    },
  );

  it('reports descriptors that cannot be sent', async () => {
    const { events } = await watched(['bad']);
    expect(events).toMatchObject([
      { ipcOperation: 'FD_SEND', errno: 'EBADF', fd: 0, messageFds: 2 },
      { ipcOperation: 'FD_SEND', errno: 'EBADF', fd: 999, messageFds: 2, descriptorKind: 'CLOSED', path: null },
    ]);
  });

  it('says so where a call carries more than can be looked at', async () => {
    const tracked = await startTracker('ipc', mine);
    const { code, stdout } = await run(program, ['padded']);
    expect([code, stdout]).toEqual([0, 'sent 20']);
    const events = await tracked.stop();
    expect(events.length).toBeGreaterThan(0);
    expect(events.length).toBeLessThan(20);
    expect(await tracked.stats()).toMatchObject({ produced: events.length + 1, received: events.length, lost: 1 });
  });

  it('knows the sender of a message that was in no memory when the call began', async () => {
    const { pid, lines, events } = await watched(['unread']);
    expect(lines[0]).toBe('1 1');
    expect(events).toMatchObject([{ ipcOperation: 'FD_SEND' }, { ipcOperation: 'FD_RECEIVE', peerPid: pid }]);
  });

  it('has the process that created a segment as the peer of another one that attaches it, and is of its sessions', async () => {
    const tracked = await startTracker('ipc', { where: `ipcOperation == "SHM_ATTACH"`, comms: ['ipcload'] });
    const { pid, stdout } = await run(program, ['attach', String(KEY + 2)]);
    const [id, child] = stdout.split('\n').map(Number);
    const event = await tracked.next((event) => event['ipcId'] === id);
    expect(event).toMatchObject({ process: { pid: child }, peerPid: pid, peerComm: 'ipcload', key: KEY + 2 });

    const listening = start('sh', ['-c', `read x; exec ${program} attach ${KEY + 3}`]);
    const over = ended(listening);
    const ofCreator = await startTracker('ipc', { pids: [listening.pid ?? 0], descendants: false });
    listening.stdin?.end('x\n');
    await over;
    const seen = (await ofCreator.stop()).map((event) => [event['ipcOperation'], event.process.pid === listening.pid]);
    expect(seen).toEqual([
      ['SHM_GET', true],
      ['SHM_ATTACH', false],
      ['SHM_CONTROL', true],
    ]);
  });

  itNarrow('reports calls of the 32-bit ABI, which has one for all', async () => {
    const { lines, events } = await watched(['narrow', String(KEY + 4)]);
    expect(told(events)).toEqual(said(lines));
    expect(events).toMatchObject([
      { ipcOperation: 'MSG_GET', key: KEY + 4 },
      { ipcOperation: 'MSG_SEND', sizeBytes: '3', messageType: '5' },
      { ipcOperation: 'MSG_RECEIVE', sizeBytes: '3', messageType: '5' },
      { ipcOperation: 'MSG_CONTROL', controlCommand: 'IPC_RMID' },
    ]);
  });

  it('knows the objects of another IPC namespace, where ids begin anew', async () => {
    const { lines, events } = await watched(['sysv', String(KEY)], mine, ['unshare', '-i']);
    expect(told(events)).toEqual(said(lines));
    const own = /ipc:\[(\d+)\]/.exec(String(await readFile('/proc/self/ns/ipc').catch(() => '')))?.[1];
    const spaces = new Set(events.map((event) => event['ipcNs']));
    expect([spaces.size, spaces.has(own ?? '')]).toEqual([1, false]);
    expect(events.find((event) => event['errno'] === null)).toMatchObject({
      ipcOperation: 'SHM_GET',
      ipcId: 0,
      key: KEY,
    });
    expect(events.find((event) => event['ipcOperation'] === 'SHM_DETACH')).toMatchObject({ ipcId: 0, key: KEY });
  });

  it('is filtered in the kernel by operation, error, id, name, path and peer', async () => {
    const file = join(scratch, 'filtered');
    await writeFile(file, '');
    const count = async (options: TrackOptions, ...args: readonly string[]) =>
      (await watched(args, { ...mine, ...options })).events.length;
    expect(await count({ options: { operations: ['SEM_OPERATE', 'MSG_SEND'] } }, 'sysv', String(KEY))).toBe(2);
    expect(await count({ options: { failedOnly: true } }, 'sysv', String(KEY))).toBe(4);
    expect(await count({ where: 'errno == "ENOMSG"' }, 'sysv', String(KEY))).toBe(1);
    expect(await count({ where: 'ipcOperation == "SEM_CONTROL"' }, 'sysv', String(KEY))).toBe(3);
    expect(await count({ where: 'ipcId == null' }, 'sysv', String(KEY))).toBe(2);
    expect(await count({ where: `name == "${name}"` }, 'mq', name)).toBe(8);
    expect(await count({ where: 'name.startsWith("/other")' }, 'mq', name)).toBe(0);
    expect(await count({ where: `path == "${file}"` }, 'pass', 'call', file)).toBe(2);
    expect(await count({ where: 'peerPid == 1' }, 'pass', 'call', file)).toBe(0);
    expect(await count({ options: { operations: ['FD_RECEIVE'] } }, 'pass', 'call', file)).toBe(2);
    expect(await count({ comms: ['nobody'] }, 'pass', 'call', file)).toBe(0);
  });

  it('counts exactly what a small ring has no room for', async () => {
    await expectExactLoss('ipc', mine, 20_000, () => run(program, ['flood', '20000']));
  });
});
