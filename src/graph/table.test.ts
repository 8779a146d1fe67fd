import { describe, expect, it } from 'vitest';
import type { Image, KnownProcess, Told } from './process.js';
import { ProcessTable } from './table.js';

const LARGE = 1 << 30;
const MS = 1_000_000;

function told(pid: number, startNs: number, more: Partial<Told> = {}): Told {
  return {
    pid,
    startNs,
    ppid: 1,
    parentStartNs: 1,
    atNs: startNs,
    comm: `p${pid}`,
    uid: 0,
    gid: 0,
    cgroupId: 7,
    mountNs: 8,
    initPid: 0,
    initStart: 0,
    ...more,
  };
}

function image(executable: string, args: readonly string[] | null = [executable]): Image {
  return {
    executable,
    executableState: 'ROOTED',
    executableDeleted: false,
    args,
    argsTruncated: args && false,
    cwd: '/',
    cwdState: 'ROOTED',
    cwdDeleted: false,
  };
}

/** With init, 1. */
function table(limit = LARGE): ProcessTable {
  const made = new ProcessTable(limit);
  made.there([{ ...told(1, 1, { ppid: 0, parentStartNs: null }), image: image('/sbin/init', null) }], 0);
  return made;
}

const lineOf = (process: KnownProcess | null): number[] => {
  const pids: number[] = [];
  for (let one = process; one; one = one.parent) pids.push(one.pid);
  return pids;
};

describe('a table of processes', () => {
  it('knows parents, also those that have ended, and not the one that adopts their children', () => {
    const made = table();
    made.forked(told(10, 100));
    made.forked(told(11, 200, { ppid: 10, parentStartNs: 100 }));
    made.exited(told(10, 100, { atNs: 300 }), 256);
    made.forked(told(12, 400, { ppid: 11, parentStartNs: 200 }));
    // Now init is its parent: what exec tells of it changes nothing.
    made.executed(told(11, 200, { ppid: 1, parentStartNs: 1, atNs: 500 }), image('/bin/sh'));
    expect(lineOf(made.find(12, 400))).toEqual([12, 11, 10, 1]);
    expect(made.find(10, 100)?.exit).toEqual({ atNs: 300, code: 256 });
    expect([...(made.find(1, 1)?.children ?? [])].map(({ pid }) => pid)).toEqual([10]);
  });

  it('tells two processes with one pid apart, and ends the first when nobody told of its end', () => {
    const made = table();
    made.forked(told(10, 100));
    made.forked(told(11, 150, { ppid: 10, parentStartNs: 100 }));
    made.forked(told(10, 300));
    made.forked(told(12, 350, { ppid: 10, parentStartNs: 300 }));
    expect(made.find(10, 100)?.exit).toEqual({ atNs: null, code: null });
    expect(made.find(10, 300)?.exit).toBeNull();
    expect(made.find(10, 200)).toBeNull();
    expect(made.living(10)?.startNs).toBe(300);
    expect(made.find(11, 150)?.parent?.startNs).toBe(100);
    expect(made.find(12, 350)?.parent?.startNs).toBe(300);
  });

  it('does not take a process for a parent that started after its child', () => {
    const made = table();
    made.forked(told(10, 100));
    made.forked(told(11, 50, { ppid: 10, parentStartNs: 100 }));
    expect(made.find(11, 50)?.parent).toBeNull();
  });

  it('says what a process was at a time: a child has its parent’s program until it executes one', () => {
    const made = table();
    made.forked(told(10, 100 * MS));
    made.executed(told(10, 100 * MS, { atNs: 150 * MS, comm: 'sh', uid: 5 }), image('/bin/sh', ['sh', '-c', 'x']));
    made.forked(told(11, 200 * MS, { ppid: 10, parentStartNs: 100 * MS, comm: 'sh' }));
    made.executed(told(11, 200 * MS, { ppid: 10, atNs: 300 * MS, comm: 'ls' }), image('/bin/ls'));
    const child = made.find(11, 200 * MS);
    expect(child?.at(250 * MS)).toMatchObject({
      comm: 'sh',
      image: { executable: '/bin/sh', args: ['sh', '-c', 'x'] },
    });
    expect(child?.at(300 * MS)).toMatchObject({ comm: 'ls', image: { executable: '/bin/ls' } });
    expect(made.find(10, 100 * MS)?.at(120 * MS)).toMatchObject({
      comm: 'p10',
      uid: 0,
      image: { executable: '/sbin/init' },
    });
    expect(made.find(10, 100 * MS)?.at(Number.POSITIVE_INFINITY)).toMatchObject({ comm: 'sh', uid: 5 });
    made.renamed(told(11, 200 * MS, { atNs: 400 * MS, comm: 'worker' }));
    expect(child?.at(500 * MS).comm).toBe('worker');
    expect(child?.at(350 * MS)).toMatchObject({ comm: 'ls', image: { executable: '/bin/ls' } });
    expect(made.find(10, 100 * MS)?.at(500 * MS).comm).toBe('sh');
  });

  it('forgets names of a program before programs, and the oldest first', () => {
    const made = table();
    made.forked(told(10, 100 * MS));
    for (const name of ['a', 'b', 'c'])
      made.executed(
        told(10, 100 * MS, { atNs: (200 + name.charCodeAt(0)) * MS - 97 * MS, comm: name }),
        image(`/bin/${name}`),
      );
    for (let i = 0; i < 100; i++) made.renamed(told(10, 100 * MS, { atNs: (300 + i) * MS, comm: `c${i}` }));
    const process = made.find(10, 100 * MS);
    expect(process?.generations.map(({ comm }) => comm)).toEqual(['p10', 'a', 'b', 'c', 'c96', 'c97', 'c98', 'c99']);
    expect(process?.at(350 * MS)).toMatchObject({ comm: 'c', image: { executable: '/bin/c' } });
    const { bytes } = made.stats;
    made.renamed(told(10, 100 * MS, { atNs: 500 * MS, comm: 'last' }));
    expect(made.stats.bytes).toBe(bytes);
  });

  it('takes a list of all processes: adds what it does not know, and ends what is not there any more', () => {
    const made = table();
    made.forked(told(10, 100));
    made.forked(told(11, 200));
    made.there(
      [
        { ...told(1, 1, { ppid: 0, parentStartNs: null }), image: null },
        { ...told(20, 150, { ppid: 11, parentStartNs: null }), image: image('/bin/cat', null) },
        { ...told(11, 140, { parentStartNs: null }), image: null },
      ],
      250,
    );
    expect(made.find(10, 100)?.exit).toEqual({ atNs: null, code: null });
    expect(made.find(11, 200)?.exit).not.toBeNull(); // its pid is another's
    expect(lineOf(made.find(20, 150))).toEqual([20, 11, 1]);
    // One that was forked while the list was made is not ended by it.
    made.forked(told(30, 300));
    made.there([{ ...told(1, 1, { ppid: 0, parentStartNs: null }), image: null }], 290);
    expect(made.find(30, 300)?.exit).toBeNull();
    // Its end, told late, is the better word.
    made.exited(told(10, 100, { atNs: 240 }), 9);
    expect(made.find(10, 100)?.exit).toEqual({ atNs: 240, code: 9 });
  });

  it('keeps to its memory: those that have ended go, first those without descendants, the oldest first', () => {
    const made = table(20_000);
    made.forked(told(10, 100));
    made.exited(told(10, 100, { atNs: 110 }), 0); // has no child
    made.forked(told(20, 200));
    made.forked(told(21, 210, { ppid: 20, parentStartNs: 200 }));
    made.exited(told(20, 200, { atNs: 220 }), 0); // has one that lives
    for (let pid = 1000; pid < 1200; pid++) {
      made.forked(told(pid, pid));
      made.exited(told(pid, pid, { atNs: pid + 1 }), 0);
    }
    const { bytes, processes, ended, evicted, refused } = made.stats;
    expect(bytes).toBeLessThanOrEqual(20_000);
    expect(bytes).toBeGreaterThan(18_000);
    expect(processes + evicted).toBe(204);
    expect(ended).toBe(processes - 2);
    expect(refused).toBe(0);
    expect(made.find(10, 100)).toBeNull();
    expect(lineOf(made.find(21, 210))).toEqual([21, 20, 1]);
    expect(made.find(1199, 1199)).not.toBeNull();
    expect(made.find(1000, 1000)).toBeNull();
  });

  it('forgets forebears too when there is nobody else, as in a chain of daemons', () => {
    const made = table(10_000);
    for (let pid = 2; pid < 1000; pid++) {
      made.forked(told(pid, pid, { ppid: pid - 1, parentStartNs: pid - 1 }));
      if (pid > 2) made.exited(told(pid - 1, pid - 1, { atNs: pid }), 0);
    }
    const { bytes, processes } = made.stats;
    expect(bytes).toBeLessThanOrEqual(10_000);
    const line = lineOf(made.find(999, 999));
    expect(line.length).toBe(processes - 1); // init's line was cut off
    expect(line[0]).toBe(999);
  });

  it('takes nobody in when it is full of the living, counts them, and takes others again when there is room', () => {
    const made = table(10_000);
    for (let pid = 2; pid < 100; pid++) made.forked(told(pid, pid));
    const { processes, refused, evicted } = made.stats;
    expect(processes + refused).toBe(99);
    expect(refused).toBeGreaterThan(50);
    expect(evicted).toBe(0);
    made.exited(told(2, 2, { atNs: 200 }), 0);
    made.forked(told(300, 300));
    expect(made.find(300, 300)).not.toBeNull();
    expect(made.find(2, 2)).toBeNull();
  });

  it('counts the memory of programs and arguments once for all who share them, and gives it back', () => {
    const made = table();
    const before = made.stats.bytes;
    made.forked(told(10, 100));
    const withOne = made.stats.bytes;
    made.executed(told(10, 100, { atNs: 110 }), image('/bin/sh', ['sh', 'x'.repeat(4000)]));
    const withImage = made.stats.bytes;
    expect(withImage - withOne).toBeGreaterThan(4000);
    for (let pid = 20; pid < 30; pid++) made.forked(told(pid, pid * 10, { ppid: 10, parentStartNs: 100 }));
    expect(made.stats.bytes - withImage).toBe(10 * (withOne - before));
    // Of the programs that it executes one after the other, the newest are kept.
    for (let i = 0; i < 100; i++) made.executed(told(10, 100, { atNs: (1000 + i) * MS }), image(`/bin/${i}`));
    expect(made.find(10, 100)?.generations.length).toBe(8);
    expect(made.find(10, 100)?.at(0).image?.executable).toBe('/bin/92');
  });

  it('stays within its bytes also where all are alive and execute one program after the other', () => {
    const limit = 1 << 20;
    const made = table(limit);
    for (let pid = 2; pid <= 300; pid++) made.forked(told(pid, pid));
    for (let exec = 1; exec <= 8; exec++)
      for (let pid = 2; pid <= 300; pid++) {
        const args = Array.from({ length: 500 }, (_, i) => `${i} of ${pid}`);
        made.executed(told(pid, pid, { atNs: exec * MS, comm: `exec${exec}` }), image('/bin/many', args));
      }
    const { bytes, processes, refused } = made.stats;
    expect(bytes).toBeLessThanOrEqual(limit);
    expect([processes, refused > 0]).toEqual([300, true]);
    // What it is called is known, though what it executes is not.
    expect(made.find(300, 300)?.at(9 * MS)).toMatchObject({ comm: 'exec8', image: null });
  });

  it('tells children that run from those that have ended, as they come, end and are forgotten', () => {
    const made = table();
    const init = made.find(1, 1);
    const pids = (run: boolean) => init?.childrenThat(run).map(({ pid }) => pid);
    expect([pids(true), pids(false)]).toEqual([[], []]);
    for (const pid of [10, 11, 12]) made.forked(told(pid, pid));
    expect([pids(true), pids(false)]).toEqual([[10, 11, 12], []]);
    made.exited(told(11, 11, { atNs: MS }), 0);
    expect([pids(true), pids(false)]).toEqual([[10, 12], [11]]);
    const small = table(3_000);
    const [first, second] = [20, 21];
    small.forked(told(first, first));
    small.exited(told(first, first), 0);
    expect(small.find(1, 1)?.childrenThat(false)).toHaveLength(1);
    for (let pid = second; small.find(first, first); pid++) small.forked(told(pid, pid));
    expect(small.find(1, 1)?.childrenThat(false)).toHaveLength(0);
  });
});
