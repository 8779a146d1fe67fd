import { describe, expect, it } from 'vitest';
import type { TraceEvent } from '../../event/event.js';
import type { AnyReportFeed } from '../../event/report-feed.js';
import { refusalKey, Refusals } from './refusal.js';

/** An event that is its own fact. */
const event = (second: number, process: object, fact: object): TraceEvent =>
  ({ time: `2026-01-01T00:00:0${second}Z`, process: { pid: 7, ppid: 1, comm: 'app', ...process }, ...fact }) as never;
const feed = (feeds: string): AnyReportFeed => ({ feeds, read: (fact: unknown) => fact }) as never;

function refused(...events: readonly (readonly [feeds: string, event: TraceEvent])[]) {
  const refusals = new Refusals();
  for (const [feeds, one] of events) refusals.add(one, feed(feeds));
  return refusals.all.map(({ kind, what, errno, process }) => [kind, what, errno, process.executable]);
}

describe('refusals', () => {
  it('are calls that a filter refuses, once each, with the program that ran then', () => {
    const call = { name: 'mount', errno: 'EPERM' };
    const exec = { path: '/bin/app', args: ['app'], errno: null };
    expect(
      refused(
        // Trackers have rings of their own: an exec may be read after what followed it.
        ['refusals', event(2, {}, call)],
        ['refusals', event(3, {}, call)],
        ['programs', event(1, {}, exec)],
        ['programs', event(4, {}, { ...exec, path: '/bin/later' })],
        ['refusals', event(5, { pid: 8, ppid: 7, comm: 'child' }, { name: 'bpf', errno: null })],
      ),
    ).toEqual([
      ['CALL', 'mount', 'EPERM', '/bin/app'],
      ['CALL', 'bpf', null, '/bin/later'],
    ]);
  });

  it('are apart by the argument that tells calls apart, as far as these are few', () => {
    const socket = (argument: number) =>
      ['refusals', event(1, {}, { name: 'socket', argument, errno: 'EPERM' })] as const;
    const refusals = new Refusals();
    for (const [feeds, one] of [socket(40), socket(2), socket(40)]) refusals.add(one, feed(feeds));
    expect(refusals.all.map(({ what, argument }) => [what, argument])).toEqual([
      ['socket', 40],
      ['socket', 2],
    ]);
    // What the container's own rights refuse is not what others refuse.
    const [vsock, inet] = refusals.all;
    expect(vsock && inet && refusalKey(vsock) === refusalKey(inet)).toBe(false);
    expect(refused(...Array.from({ length: 1000 }, (_, i) => socket(i)))).toHaveLength(65);
  });

  it('take time linear in the programs that one process executes', () => {
    const exec = { path: '/bin/app', args: ['app'], errno: null };
    const execs = Array.from({ length: 100_000 }, () => ['programs', event(1, {}, exec)] as const);
    expect(refused(...execs, ['refusals', event(2, {}, { name: 'bpf', errno: 'EPERM' })])).toEqual([
      ['CALL', 'bpf', 'EPERM', '/bin/app'],
    ]);
  });

  it('are capabilities that a process has not, in the initial user namespace', () => {
    const denied = { capability: 'CAP_CHOWN', granted: false, call: 'chown', level: 0 };
    expect(
      refused(
        ['capabilities', event(1, {}, denied)],
        ['capabilities', event(1, {}, { ...denied, capability: 'CAP_KILL', granted: true })],
        ['capabilities', event(1, {}, { ...denied, capability: 'CAP_SETUID', level: 1 })],
        ['capabilities', event(1, { comm: 'runc:[2:INIT]' }, { ...denied, capability: 'CAP_SYS_ADMIN' })],
        ['capabilities', event(1, { comm: 'exe', mountNs: '4026531841' }, { ...denied, capability: 'CAP_SYS_ADMIN' })],
      ),
    ).toEqual([['CAPABILITY', 'CAP_CHOWN', null, null]]);
  });

  it('are paths that cannot be written, and devices; not files that are not there', () => {
    expect(
      refused(
        ['files', event(1, {}, { absolute: '/etc/x', errno: 'EROFS' })],
        ['files', event(2, {}, { absolute: '/none', errno: 'ENOENT' })],
        ['files', event(3, {}, { absolute: null, errno: 'EACCES' })],
        ['files', event(4, {}, { absolute: '/dev/kvm', errno: 'EPERM' })],
        ['changes', event(5, {}, { made: '/run/a', removed: '/run/b', changed: null, errno: 'EROFS' })],
        ['changes', event(6, {}, { made: '/run/c', removed: null, changed: null, errno: null })],
        ['listens', event(7, {}, { port: 1, errno: 'EACCES' })],
      ),
    ).toEqual([
      ['PATH', '/etc/x', 'EROFS', null],
      ['DEVICE', '/dev/kvm', 'EPERM', null],
      ['PATH', '/run/a', 'EROFS', null],
      ['PATH', '/run/b', 'EROFS', null],
    ]);
  });

  it('have the stack of the call in which they happened', () => {
    const refusals = new Refusals();
    const call = (second: number, name: string, errno: string, stack: readonly string[] | null, process = {}) =>
      refusals.add(event(second, { tid: 70, ...process }, { name, errno, stack }), feed('syscalls'));
    const add = (feeds: string, second: number, fact: object): void =>
      refusals.add(event(second, { tid: 70 }, fact), feed(feeds));
    add('refusals', 1, { name: 'mount', errno: 'EPERM', stack: ['mount'] });
    add('files', 2, { absolute: '/etc/x', errno: 'EACCES', stack: ['open'] });
    // A capability is told of some time later than the call, and its events have no thread to go by.
    call(3, 'chown', 'ENOENT', ['not this one']);
    call(3, 'chown', 'EPERM', ['chown']);
    call(3, 'chown', 'EPERM', ['another process'], { pid: 8 });
    add('capabilities', 6, { capability: 'CAP_CHOWN', granted: false, call: 'chown', level: 0 });
    add('capabilities', 6, { capability: 'CAP_SYS_ADMIN', granted: false, call: 'open', level: 0 });
    call(4, 'mkdir', 'EROFS', ['mkdir']);
    add('changes', 4, { made: '/run/a', removed: null, changed: null, errno: 'EROFS' });
    add('changes', 5, { made: '/run/b', removed: null, changed: null, errno: 'EROFS' });
    expect(Object.fromEntries(refusals.all.map(({ what, stack }) => [what, stack]))).toEqual({
      mount: ['mount'],
      '/etc/x': ['open'],
      CAP_CHOWN: ['chown'],
      CAP_SYS_ADMIN: null,
      '/run/a': ['mkdir'],
      '/run/b': null,
    });
    expect(refusals.all).toHaveLength(6);
  });
});
