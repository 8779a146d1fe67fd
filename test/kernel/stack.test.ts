import { beforeAll, describe, expect, it } from 'vitest';
import seccomp from '../../src/trackers/seccomp.js';
import { harness, startTracker, type Seen, type Tracked, type TrackOptions } from '../support/session.js';
import { compileC, run, start } from '../support/workload.js';

const source = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((noinline)) int refused_here(int n) { return open("/etc/shadow", O_RDONLY) + n; }
__attribute__((noinline)) int middle(int n) { char room[64 + (n & 7)]; room[n] = 1; return refused_here(room[n]) + n; }
static void *in_thread(void *n) { return (void *)(long)middle((int)(long)n); }
int main(int argc, char **argv)
{
	pthread_t threads[4];

	if (setresuid(65534, 65534, 65534)) return 3;
	if (argc > 2) {
		for (int i = 0; i < 20000; i++) middle(argc);
		return 0;
	}
	if (argc > 1) return middle(argc) == 0; /* and ends at once */
	for (long i = 0; i < 4; i++) pthread_create(&threads[i], NULL, in_thread, (void *)i);
	for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
	return 0;
}
`;

let program: string;
beforeAll(async () => {
  program = await compileC('stacks', source, '-O2', '-fomit-frame-pointer', '-pthread');
});

const mine: TrackOptions = { pids: [process.pid], descendants: true };
const demandOf = (tracker: string) => ({ ...mine, demand: new Map([[tracker, new Set(['stack'])]]) });
const nobody = ['--reuid', '65534', '--clear-groups', '--'];

/** The stack of the first refusal of a program. */
async function stackOf(tracked: Tracked, pid: number, is: (event: Seen) => boolean): Promise<string[]> {
  const event = await tracked.next((one) => one.process.pid === pid && is(one));
  expect(event['stack']).toBeInstanceOf(Array);
  return event['stack'] as string[];
}

const names = (stack: readonly string[]): (string | undefined)[] =>
  stack.map((frame) => /^[^+ ]+(?=\+)/.exec(frame)?.[0]);
const isShadow = (event: Seen): boolean => event['path'] === '/etc/shadow';

describe('the stack of a refusal', () => {
  it('reaches the beginning of a program of the system, which has no frame pointers and ends at once', async () => {
    const open = await startTracker('open', demandOf('open'));
    const { pid } = await run('setpriv', [...nobody, '/bin/cat', '/etc/shadow']);
    const stack = await stackOf(open, pid, isShadow);
    expect(stack[0]).toMatch(/^\w*open\w*\+0x[0-9a-f]+ \(\/.*\/libc\.so\.6\+0x[0-9a-f]+\)$/);
    expect(names(stack)).toContain('__libc_start_main');
    expect(stack.at(-1)).toMatch(/^\(\/usr\/bin\/cat\+0x[0-9a-f]+\)$/);
    expect(stack.join()).not.toContain('cut');
  });

  it('names the functions of a program that has its symbols', async () => {
    const open = await startTracker('open', demandOf('open'));
    const { pid } = await run(program, ['once']);
    const stack = await stackOf(open, pid, isShadow);
    expect(names(stack).slice(1, 4)).toEqual(['refused_here', 'middle', 'main']);
    expect(stack[1]).toContain(`(${program}+0x`);
    expect(names(stack).at(-1)).toBe('_start');
  });

  it('is of the thread that was refused', async () => {
    const open = await startTracker('open', demandOf('open'));
    const { pid } = await run(program);
    for (let i = 0; i < 4; i++) {
      const stack = names(await stackOf(open, pid, (event) => isShadow(event) && event.process.tid !== pid));
      expect(stack.slice(1, 4)).toEqual(['refused_here', 'middle', 'in_thread']);
      expect(stack).not.toContain('main');
    }
  });

  it.each([
    ['perl', ['-e', 'open(F, "/etc/shadow")'], '/usr/bin/perl'],
    ['node', ['-e', 'try { fs.readFileSync("/etc/shadow") } catch {}'], '/usr/bin/node'],
  ])('reaches the beginning of %s', async (name, args, path) => {
    const open = await startTracker('open', demandOf('open'));
    const { pid } = await run('setpriv', [...nobody, `/usr/bin/${name}`, ...args]);
    const stack = await stackOf(open, pid, isShadow);
    expect(stack.join('\n')).not.toContain('(cut');
    expect(stack.at(-1)).toContain(`(${path}+0x`);
    expect(names(stack)).toContain('__libc_start_main');
  });

  it('is of calls that the kernel refuses for want of a capability', async () => {
    const syscall = await startTracker('syscall', { ...demandOf('syscall'), options: { only: ['chroot', 'chdir'] } });
    const { pid } = await run('setpriv', [...nobody, '/usr/bin/perl', '-e', 'chdir("/none"); chroot("/")']);
    const stack = await stackOf(syscall, pid, (event) => event['name'] === 'chroot');
    expect(stack[0]).toMatch(/^chroot\+/);
    expect(names(stack)).toContain('__libc_start_main');
    // Another failure is no refusal.
    expect(await syscall.next((event) => event['name'] === 'chdir')).toMatchObject({ errno: 'ENOENT', stack: null });
  });

  it('is of calls that a filter of seccomp refuses', async () => {
    const refusals = await startTracker('seccomp', demandOf('seccomp'));
    await run('sh', ['-c', seccomp.trigger ?? '']);
    const event = await refusals.next(({ process: { comm } }) => comm === 'perl');
    expect(event).toMatchObject({ errno: 'EPERM', action: 'ERRNO' });
    const stack = event['stack'] as string[];
    expect(stack[0]).toMatch(/^syscall\+0x[0-9a-f]+ \(.*libc\.so\.6\+/);
    expect(stack.at(-1)).toContain('(/usr/bin/perl+0x');
  });

  it('is of calls for which a filter sends a signal, as far as the process lives on', async () => {
    const refusals = await startTracker('seccomp', demandOf('seccomp'));
    const trigger = seccomp.trigger ?? '';
    const handled = trigger
      .replace("perl -e '", "perl -e '$SIG{SYS} = sub { sleep 2 }; ")
      .replace('0x50001', '0x30000');
    await run('sh', ['-c', handled]);
    const trapped = await refusals.next(({ process: { comm } }) => comm === 'perl');
    expect(trapped).toMatchObject({ action: 'TRAP' });
    expect(names(trapped['stack'] as string[]).at(-1)).toBe('_start');
    await run('sh', ['-c', trigger.replace('0x50001', '0x80000000')]);
    expect(await refusals.next(({ process: { comm } }) => comm === 'perl')).toMatchObject({
      action: 'KILL_PROCESS',
      stack: [expect.stringMatching(/^\(0x[0-9a-f]+\)$/), '(cut: the address is in no code that is known)'],
    });
  });

  it('is left out of a flood of refusals, of which all events come, and says so', async () => {
    const open = await startTracker('open', demandOf('open'));
    await run(program, ['too', 'many']);
    const { received, receivedBytes, lost } = await open.stats();
    expect(received).toBeGreaterThanOrEqual(20_000);
    expect(lost).toBe(0);
    // With all their stacks, it would be some 20 KiB.
    expect(receivedBytes / received).toBeLessThan(4000);
    const tooMany = await open.next((event) => isShadow(event) && (event['stack'] as string[]).length === 1);
    expect(tooMany['stack']).toEqual(['(cut: too many stacks at once)']);
  });

  it('is captured only for those who select it', async () => {
    const open = await startTracker('open', mine);
    expect(open.session.captured()).not.toContain('stack');
    const { pid } = await run(program, ['once']);
    const event = await open.next((one) => one.process.pid === pid && isShadow(one));
    expect(event['stack']).toBeNull();
    const { receivedBytes, received } = await open.stats();
    expect(receivedBytes / received).toBeLessThan(400);
    const release = open.session.addDemand(new Map([['open', new Set(['stack'])]]));
    await open.stats(); // the mask is on its way before this question
    const again = await run(program, ['once']);
    expect(await stackOf(open, again.pid, isShadow)).not.toEqual([]);
    release();
  });

  it('is of the mappings that /proc has, on kernels whose programs cannot read them', async () => {
    const { trackers } = await harness();
    const runtime = trackers.get('open');
    if (!runtime) throw new Error('there is no tracker open');
    const spec = runtime.objectSpec.bind(runtime);
    const old = { eu_has_bpf_iter_task_vma_new: false };
    runtime.objectSpec = (options) => ({ ...spec(options), constants: { ...spec(options).constants, ...old } });
    try {
      const open = await startTracker('open', demandOf('open'));
      const script = 'open(F, "/etc/shadow"); $| = 1; print "x\\n"; sleep 100';
      const child = start('setpriv', [...nobody, '/usr/bin/perl', '-e', script]);
      const stack = await stackOf(open, child.pid ?? 0, isShadow);
      child.kill();
      expect(names(stack).at(-1)).toBe('_start');
      // One that has ended has its innermost address, and what it lacks.
      const { pid } = await run(program, ['once']);
      expect(await stackOf(open, pid, isShadow)).toEqual([
        expect.stringMatching(/^\(0x[0-9a-f]+\)$/),
        '(cut: the address is in no code that is known)',
      ]);
    } finally {
      runtime.objectSpec = spec;
    }
  });
});
