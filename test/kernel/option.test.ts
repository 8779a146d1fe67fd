import { describe, expect, it } from 'vitest';
import { heldPrograms } from '../support/bpf.js';
import { harness, startTracker } from '../support/session.js';
import { run, work } from '../support/workload.js';

const mine = { pids: [process.pid], descendants: false };
const family = { pids: [process.pid] };

describe('the options of a tracker', () => {
  it('leave out programs that they do not need: exec without failed attempts is not at the hook of each system call', async () => {
    await harness();
    const before = heldPrograms();
    const added = () => heldPrograms().filter((name) => !before.includes(name));
    const all = await startTracker('exec', mine);
    expect(added()).toEqual(['exec_done', 'exec_failed', ...added().filter((name) => name.startsWith('follow'))]);
    await all.stop();
    const done = await startTracker('exec', { ...mine, options: { failed: false } });
    expect(added()).not.toContain('exec_failed');
    expect(added()).toContain('exec_done');
    await done.stop();
  });

  it('without failed attempts still see what succeeds', async () => {
    const exec = await startTracker('exec', { ...family, options: { failed: false } });
    await work('execve', '/no/such', 'x');
    const { pid } = await run('/bin/true', ['seen']);
    await exec.next((e) => e.process.pid === pid);
    const events = await exec.stop();
    expect(events.map((e) => e['errno'])).toEqual(events.map(() => null));
    expect(events.some((e) => e['filename'] === '/no/such')).toBe(false);
  });

  it('follow forks only where descendants are wanted', async () => {
    await harness();
    const before = heldPrograms();
    const added = () => heldPrograms().filter((name) => !before.includes(name));
    const alone = await startTracker('exit', mine);
    expect(added()).not.toContain('follow_fork');
    await alone.stop();
    const whole = await startTracker('exit', {});
    expect(added()).toEqual(['process_exit']);
    await whole.stop();
    const followed = await startTracker('exit', family);
    expect(added()).toEqual(['follow_exit', 'follow_fork', 'process_exit']);
    await followed.stop();
  });

  it('are refused where the object knows no such constant', async () => {
    await expect(startTracker('exit', { ...family, options: { nonsense: true } })).rejects.toMatchObject({
      code: 'BAD_OBJECT',
      message: 'exit.bpf.o has no constant nonsense (const volatile)',
    });
  });
});
