import { describe, expect, it } from 'vitest';
import { compileView } from './view.js';
import { defineTracker } from '../tracker/define.js';
import exec from '../trackers/exec.js';
import exit from '../trackers/exit.js';
import open from '../trackers/open.js';
import tcp from '../trackers/tcp.js';
import { batchAt, eventOf, layoutOf } from '../../test/support/record.js';

const clock = { seconds: 1_700_000_000, nanoseconds: 1 };

/** `length << 16 | offset` of text behind a struct. */
function tailOf(size: number, ...parts: readonly string[]): { words: number[]; tail: Uint8Array } {
  const words: number[] = [];
  let at = size;
  for (const part of parts) {
    const length = Buffer.byteLength(part);
    words.push(((length << 16) | at) >>> 0);
    at += length;
  }
  return { words, tail: Buffer.from(parts.join('')) };
}

describe('an event', () => {
  it('reads what all events have from the header', () => {
    const values = {
      bootNs: 5_000_000_001n,
      cgroupId: 2n ** 53n + 1n,
      startBootNs: 4_000_000_000n,
      pid: 4_000_000,
      tid: 7,
      ppid: 1,
      uid: 4_294_967_295,
      gid: 3,
      mountNs: 4_026_531_841,
      comm: Buffer.from('ünï\0rest'),
    };
    const event = eventOf(exit, values, undefined, clock, () => ({ id: 'c' }));
    expect(event).toMatchObject({
      __typename: 'ExitEvent',
      tracker: 'exit',
      bootNs: '5000000001',
      time: '2023-11-14T22:13:25.000000002Z',
      cgroupId: '9007199254740993',
      container: { id: 'c' },
    });
    const { process } = event;
    expect([
      process.pid,
      process.tid,
      process.ppid,
      process.uid,
      process.gid,
      process.comm,
      process.mountNs,
      process.startTime,
    ]).toEqual([4_000_000, 7, 1, 4_294_967_295, 3, 'ünï', '4026531841', '2023-11-14T22:13:24.000000001Z']);
    expect(eventOf(exit, {}).process.mountNs).toBeNull();
    expect(eventOf(exit, {}).container).toBeNull();
  });

  it('of exec knows captured from empty', () => {
    const { words, tail } = tailOf(layoutOf('exec').size, '/bin/x', 'x\0\0y\0', 'sh');
    const [filename = 0, args = 0, parentComm = 0] = words;
    expect(
      eventOf(exec, { filename, args, errno: -13, pidNs: 5, netNs: 6, argsTruncated: 1, parentComm }, tail),
    ).toMatchObject({
      filename: '/bin/x',
      args: ['x', '', 'y'],
      argsTruncated: true,
      executable: null,
      cwd: null,
      errno: 'EACCES',
      parentComm: 'sh',
      pidNs: '5',
      netNs: '6',
    });
    expect(eventOf(exec, { argsTruncated: 1 })).toMatchObject({
      args: null,
      argsTruncated: null,
      errno: null,
      parentComm: null,
      pidNs: null,
      netNs: null,
    });
  });

  it('of exit names signals', () => {
    expect(eventOf(exit, { exitCode: -1, signal: 11, coreDumped: 1, lifetimeNs: 2n ** 64n - 2n })).toMatchObject({
      exitCode: null,
      signal: 'SIGSEGV',
      coreDumped: true,
      lifetimeNs: '18446744073709551614',
    });
    expect(eventOf(exit, { exitCode: 3 })).toMatchObject({ exitCode: 3, signal: null, coreDumped: false });
  });

  it('of open has no descriptor when it failed, and a mode only where it could make a file', () => {
    expect(eventOf(open, { fd: -1, errno: -2, flags: 0, mode: 0o644 })).toMatchObject({
      fd: null,
      errno: 'ENOENT',
      flags: ['O_RDONLY'],
      mode: null,
      path: null,
      resolved: null,
    });
    expect(eventOf(open, { fd: 0, flags: 0o101, mode: 0o100644 })).toMatchObject({
      fd: 0,
      errno: null,
      flags: ['O_WRONLY', 'O_CREAT'],
      mode: 0o644,
    });
  });

  it('of tcp has bytes at its close only, and no address where none was named', () => {
    const localAddress = Uint8Array.from([...new Array<number>(10).fill(0), 255, 255, 127, 0, 0, 1]);
    const values = {
      tcpOperation: 3,
      family: 2,
      known: 7,
      localAddress,
      localPort: 80,
      remotePort: 65535,
      sentBytes: 2n ** 60n,
      receivedBytes: 0n,
      durationNs: 2n ** 64n - 1n,
    };
    expect(eventOf(tcp, values)).toMatchObject({
      tcpOperation: 'CLOSE',
      ipVersion: 4,
      localAddress: '127.0.0.1',
      remoteAddress: '::',
      localPort: 80,
      remotePort: 65535,
      sentBytes: String(2n ** 60n),
      receivedBytes: '0',
      durationNs: null,
    });
    expect(eventOf(tcp, { ...values, sentBytes: 2n ** 64n - 1n })).toMatchObject({
      tcpOperation: 'CLOSE',
      sentBytes: null,
      receivedBytes: '0',
    });
    expect(eventOf(tcp, { ...values, tcpOperation: 1, durationNs: 5n })).toMatchObject({
      tcpOperation: 'CONNECT',
      sentBytes: null,
      receivedBytes: null,
      durationNs: '5',
    });
    expect(eventOf(tcp, { tcpOperation: 4, errno: -111, family: 0 })).toMatchObject({
      tcpOperation: 'CONNECT_FAILED',
      ipVersion: null,
      localAddress: null,
      remoteAddress: null,
      errno: 'ECONNREFUSED',
    });
    expect(eventOf(tcp, { family: 10 })).toMatchObject({
      ipVersion: 6,
      localAddress: null,
      localPort: null,
      remoteAddress: null,
      remotePort: null,
      tcpOperation: null,
    });
    expect(eventOf(tcp, { family: 10, known: 6 })).toMatchObject({
      localAddress: null,
      remoteAddress: '::',
      remotePort: 0,
    });
  });

  it('computes a field only when somebody reads it', () => {
    let calls = 0;
    const counting = defineTracker({
      name: 'exit',
      minimumKernel: '5.8',
      blindSpots: [],
      fields: {
        signal: {
          from: ['signal', 'exitCode'],
          read: (signal: number, code: number) => (calls++, signal * 1000 + code),
        },
      },
    });
    const event = eventOf(counting, { signal: 9, exitCode: 4 });
    expect([event.bootNs, calls]).toEqual(['0', 0]);
    expect(Reflect.get(event, 'signal')).toBe(9004);
    expect(calls).toBe(1);
  });

  it('cannot be compiled from a record field that is not there', () => {
    const wrong = defineTracker({
      name: 'exit',
      minimumKernel: '5.8',
      blindSpots: [],
      fields: { code: { from: ['nonsense'], read: () => null } },
    });
    expect(() => compileView(wrong, layoutOf('exit'))).toThrow(
      expect.objectContaining({
        code: 'BAD_OBJECT',
        message: expect.stringContaining('the record has no field nonsense; it has exitCode') as string,
      }) as Error,
    );
  });
});

describe('a batch', () => {
  it('makes each of its events, in order, wherever their records lie', () => {
    const batch = batchAt(100, 50);
    expect(Array.from({ length: batch.count }, (_, i) => batch.event(i).bootNs)).toEqual(
      Array.from({ length: 50 }, (_, i) => String(100 + i)),
    );
    expect(batch.bootNsAt(49)).toBe(149);
    expect(batch.byteLength).toBe(batch.bytes.length + 4 * 50);
  });

  it('refuses a record of a tracker that its session has not', () => {
    const batch = batchAt(0, 1);
    batch.view.setUint16((batch.offsets[0] ?? 0) + 48, 3, true);
    expect(() => batch.event(0)).toThrow('record 0 of the batch is of no tracker of its session');
  });
});
