import { mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTracker, type Seen } from '../support/session.js';
import { run, scratch, work, workloadPath } from '../support/workload.js';

const mine = { pids: [process.pid] };
const of = (pid: number) => (e: Seen) => e.process.pid === pid;

describe('the tracker exit', () => {
  it('reports exit codes', async () => {
    const exit = await startTracker('exit', mine);
    for (const code of [0, 1, 42, 255]) {
      const { pid, code: waited } = await work('exit', code);
      expect(waited).toBe(code);
      expect(await exit.next(of(pid))).toMatchObject({
        tracker: 'exit',
        exitCode: code,
        signal: null,
        coreDumped: false,
        process: { tid: pid, ppid: process.pid, comm: 'workload' },
      });
    }
  });

  it('names the signal that ended a process, real-time ones too, and has no exit code then', async () => {
    const exit = await startTracker('exit', mine);
    for (const [number, signal] of [
      [9, 'SIGKILL'],
      [15, 'SIGTERM'],
      [13, 'SIGPIPE'],
      [34, 'SIGRTMIN'],
      [36, 'SIGRTMIN+2'],
      [64, 'SIGRTMIN+30'],
      [33, 'SIGRTMIN-1'],
    ] as const) {
      const { pid } = await work('kill', number);
      expect(await exit.next(of(pid))).toMatchObject({ exitCode: null, signal, coreDumped: false });
    }
  });

  it('says when a core was dumped', async () => {
    const exit = await startTracker('exit', mine);
    const cwd = await mkdtemp(join(scratch, 'core-'));
    const { pid, signal } = await run(await workloadPath(), ['crash'], { cwd });
    expect(signal).toBe('SIGABRT');
    const pattern = (await readFile('/proc/sys/kernel/core_pattern', 'utf8')).trim();
    // A helper ("|…") decides for itself; a plain name makes a file in the working directory.
    const dumped = pattern.startsWith('|') ? (expect.any(Boolean) as boolean) : true;
    expect(await exit.next(of(pid))).toMatchObject({ exitCode: null, signal: 'SIGABRT', coreDumped: dumped });
  });

  it('measures the lifetime from the fork on', async () => {
    const exit = await startTracker('exit', mine);
    const before = process.hrtime.bigint();
    const { pid } = await run('sleep', ['0.1']);
    const took = process.hrtime.bigint() - before;
    const seen = await exit.next(of(pid));
    const lifetime = BigInt(String(seen['lifetimeNs']));
    expect(lifetime).toBeGreaterThanOrEqual(100_000_000n);
    expect(lifetime).toBeLessThanOrEqual(took);
  });

  it('reports a process with threads once, with the code of its first thread', async () => {
    const exit = await startTracker('exit', mine);
    const { pid } = await work('threads', 8);
    await exit.next(of(pid));
    const events = await exit.stop();
    expect(events.filter(of(pid))).toEqual([expect.objectContaining({ exitCode: 5, signal: null })]);
  });

  it('reports a process whose first thread ended early when its last one does, with the code of exit_group', async () => {
    const exit = await startTracker('exit', mine);
    const { pid } = await work('leader-first', 7);
    const seen = await exit.next(of(pid));
    expect(seen).toMatchObject({ exitCode: 7, signal: null, process: { comm: 'workload' } });
    expect(seen.process.tid).not.toBe(pid);
    expect((await exit.stop()).filter(of(pid))).toHaveLength(1);
  });

  it('with failedOnly is silent of success', async () => {
    const exit = await startTracker('exit', { ...mine, options: { failedOnly: true } });
    const good = await work('exit', 0);
    const bad = await work('exit', 3);
    const killed = await work('kill', 9);
    const pids = (await exit.stop()).map((e) => e.process.pid);
    expect(pids).toEqual([bad.pid, killed.pid]);
    expect(pids).not.toContain(good.pid);
  });
});
