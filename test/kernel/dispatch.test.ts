import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { copyOf, harness, startTracker, type Seen } from '../support/session.js';
import { adviceTrackers } from '../../src/cli/advise.js';
import { itNarrow } from '../support/narrow.js';
import { specOf } from '../support/spec.js';
import { until } from '../support/until.js';
import { compileC, firstLine, run, scratch, start } from '../support/workload.js';

/** Calls of each tracker of system calls, some of which fail; of the 64-bit ABI, or of i386. At the end, calls that a filter refuses. */
const source = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "narrow.h"
static void native(const char *file)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(1) };
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un path = { .sun_family = AF_UNIX, .sun_path = "/no/socket" };
	char *args[] = { "one", "two", NULL }, byte = 0;
	int fd = open(file, O_RDWR | O_CREAT, 0600), tcp = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);
	int server = socket(AF_INET, SOCK_STREAM, 0), queue;
	open("/no/file", O_RDONLY);
	for (int i = 0; i < 10; i++) if (write(fd, "1234", 4) != 4) exit(1);
	lseek(fd, 0, SEEK_SET);
	while (read(fd, &byte, 1) > 0);
	execve("/no/program", args, NULL);
	fchmod(fd, 0640);
	unlink("/no/file");
	mount("none", "/no/directory", "tmpfs", 0, NULL);
	umount2("/no/directory", 0);
	bind(server, (void *)&any, sizeof(any));
	listen(server, 7);
	connect(tcp, (void *)&to, sizeof(to));
	connect(local, (void *)&path, sizeof(path));
	kill(0x3fffffff, SIGTERM);
	setuid(getuid());
	chroot("/no/directory");
	queue = msgget(IPC_PRIVATE, 0600);
	msgctl(queue, IPC_RMID, NULL);
	msgget(0x7e57, 0);
	close(fd); close(tcp); close(local); close(server);
	unlink(file);
}
static void i386(const char *file)
{
	char *low = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	unsigned *words = (unsigned *)(low + 4096);
	long path = (long)low, missing = (long)low + 512;
	strcpy(low, file); strcpy(low + 512, "/no/file");
	long fd = old(5, path, O_RDWR | O_CREAT, 0600, 0);                    /* open: the number of fstat */
	old(5, missing, O_RDONLY, 0, 0);
	old(8, path, 0600, 0, 0);                                            /* creat: the number of lseek */
	old(4, fd, missing, 4, 0);                                           /* write: the number of stat */
	words[0] = missing; words[1] = 0;
	old(11, missing, (long)words, 0, 0);                                 /* execve: the number of munmap */
	old(10, missing, 0, 0, 0);                                           /* unlink: the number of mprotect */
	old(15, path, 0640, 0, 0);                                           /* chmod: the number of rt_sigreturn */
	old(21, missing, missing, missing, 0);                               /* mount: the number of access */
	old(37, 0x3fffffff, SIGTERM, 0, 0);                                  /* kill: the number of alarm */
	old(23, getuid(), 0, 0, 0);                                          /* setuid of 16 bits: the number of select */
	struct sockaddr_in *any = (void *)(low + 8192);
	*any = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	words[0] = socket(AF_INET, SOCK_STREAM, 0); words[1] = (long)any; words[2] = sizeof(*any);
	old(102, 2, (long)words, 0, 0);                                      /* socketcall: bind */
	words[0] = socket(AF_INET, SOCK_STREAM, 0);
	any->sin_port = htons(1);
	old(102, 3, (long)words, 0, 0);                                      /* socketcall: connect */
	old(10, path, 0, 0, 0);
}
static void refused(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) exit(1);
	for (int i = 0; i < 5; i++) { acct(NULL); getppid(); open("/no/file", O_RDONLY); }
}
static void bursts(void)
{
	refused();
	for (int i = 0; i < 40; i++) {
		for (int n = 0; n < 50; n++) { acct(NULL); getppid(); open("/no/file", O_RDONLY); }
		usleep(50000);
	}
}
int main(int argc, char **argv)
{
	if (!strcmp(argv[1], "bursts")) {
		bursts();
		return 0;
	}
	for (int i = 0; i < 5; i++) strcmp(argv[1], "native") ? i386(argv[2]) : native(argv[2]);
	refused();
	return 0;
}
`;

/** Calls without end, of a task whose filter refuses none. */
const allowed = `
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { .len = 1, .filter = code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) exit(1);
	puts("ready");
	fflush(stdout);
	for (;;) getppid();
}
`;

const program = join(scratch, 'dispatched');
const comms = ['dispatched'];

beforeAll(async () => {
  await compileC('dispatched', source);
  await compileC('allowed', allowed);
});

/** Trackers that have programs at the end of system calls. */
async function trackerNames(): Promise<readonly string[]> {
  const { trackers } = await harness();
  return [...trackers.values()].filter(({ definition }) => definition.atCallExit).map((one) => one.definition.name);
}

/** What of an event does not depend on when it was told. */
function steady(event: Seen): string {
  return JSON.stringify(
    Object.entries(event).filter(
      ([name]) => !/time$|ns$|^seq$|latency|histogram|^fsync|^first$|^last$/i.test(name) || name === 'mountNs',
    ),
    (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
  );
}

/** Counts of events that the kernel aggregates, which are told in parts; of others, what they are. */
function told(events: readonly Seen[]): readonly string[] {
  const [first] = events;
  if (first?.tracker === 'syscount' || first?.tracker === 'fileio') {
    const sums = new Map<string, number>();
    for (const event of events) {
      const key = JSON.stringify([event['name'], event['abi'], event['path'], event.process.pid]);
      const count = Number(event['count'] ?? 0) + Number(event['reads'] ?? 0) + Number(event['writes'] ?? 0);
      sums.set(key, (sums.get(key) ?? 0) + count);
    }
    return [...sums].map(([key, sum]) => `${key} ${sum}`).sort();
  }
  return events.map(steady).sort();
}

/** How many programs this process has on a tracepoint. */
function programsAt(tracepoint: string): number {
  const told = readdirSync('/proc/self/fdinfo').map((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    } catch {
      return ''; // closed meanwhile
    }
  });
  return told.filter((text) => text.includes('link_type') && new RegExp(`\\b${tracepoint}\\b`).test(text)).length;
}

async function compare(abi: 'native' | 'i386'): Promise<void> {
  const names = await trackerNames();
  const { manager, trackers } = await harness();
  const together = await manager.start(
    specOf(
      names.map((name) => ({ name, options: {} })),
      {},
      { comms },
    ),
  );
  const all: Seen[] = [];
  const reading = (async () => {
    for await (const { events } of together.subscribe({ demand: new Map() }))
      for (const event of events) {
        const runtime = trackers.get(event.tracker);
        if (runtime) all.push(copyOf(event, runtime));
      }
  })();
  const alone = new Map<string, Awaited<ReturnType<typeof startTracker>>>();
  for (const name of names) alone.set(name, await startTracker(name, { comms }));
  const { code, pid } = await run(program, [abi, join(scratch, `made-${abi}`)]);
  expect(code).toBe(0);
  await manager.stop(together.id);
  await reading;
  for (const [name, tracked] of alone) {
    const own = (await tracked.stop()).filter((event) => event.process.pid === pid);
    const beside = all.filter((event) => event.tracker === name && event.process.pid === pid);
    expect([name, ...told(beside)]).toEqual([name, ...told(own)]);
    const { lost } = await tracked.stats();
    expect(lost).toBe(0);
  }
  const silent = names.filter((name) => !all.some((event) => event.tracker === name && event.process.pid === pid));
  expect(silent).toEqual(abi === 'native' ? [] : expect.not.arrayContaining(['open', 'exec', 'fsop', 'tcp', 'bind']));
}

describe('trackers beside each other', () => {
  it('attach few programs to system calls, and leave none', async () => {
    const { manager } = await harness();
    const names = await trackerNames();
    const programsOf = async (trackers: readonly string[]): Promise<readonly number[]> => {
      const before = [programsAt('sys_enter'), programsAt('sys_exit')];
      const session = await manager.start(
        specOf(
          trackers.map((name) => ({ name, options: {} })),
          {},
          { comms },
        ),
      );
      const after = [programsAt('sys_enter'), programsAt('sys_exit')];
      await manager.remove(session.id);
      expect([programsAt('sys_enter'), programsAt('sys_exit')]).toEqual(before);
      return after.map((count, i) => count - (before[i] ?? 0));
    };
    expect(names.length).toBeGreaterThan(14);
    // Of two trackers that look at the same call, one is beside the chain.
    expect(await programsOf(names)).toEqual([1, 2]);
    expect(await programsOf(adviceTrackers)).toEqual([1, 1]);
    expect(await programsOf(['open', 'syscount'])).toEqual([1, 1]);
    expect(await programsOf(['open', 'fsop'])).toEqual([0, 1]);
    expect(await programsOf(['seccomp'])).toEqual([1, 1]);
  });

  it('go on to others while one comes and goes', async () => {
    const { manager, trackers } = await harness();
    const names = ['seccomp', 'syscall', 'syscount', 'open'];
    const session = await manager.start(
      specOf(
        names.map((name) => ({ name, options: {} })),
        { capture: 'DEMANDED' },
        { comms },
      ),
    );
    const seen: Seen[] = [];
    const timed: boolean[] = [];
    const path = join(scratch, 'demanded');
    for (const demanded of [false, true, false, true]) {
      const stream = session.subscribe({ demand: new Map(demanded ? [['syscall', new Set(['durationNs'])]] : []) });
      const events: Seen[] = [];
      const reading = (async () => {
        for await (const batch of stream)
          for (const event of batch.events) {
            const runtime = trackers.get(event.tracker);
            if (runtime) events.push(copyOf(event, runtime));
          }
      })();
      await session.stats(); // its program is on its way before this question
      const { pid } = await run(program, ['native', path]);
      await session.refresh();
      await until('the counts of the run', () =>
        events.some((event) => event.tracker === 'syscount' && event.process.pid === pid),
      );
      await stream.return();
      await reading;
      seen.push(...events.filter((event) => event.process.pid === pid));
      timed.push(events.some((event) => event.tracker === 'syscall' && event['durationNs'] !== null));
    }
    expect(timed).toEqual([false, true, false, true]);
    expect(seen.filter(({ tracker }) => tracker === 'seccomp')).toHaveLength(4 * 5);
    const opens = (tracker: string) =>
      seen
        .filter((event) => event.tracker === tracker && (tracker === 'open' || event['name'] === 'openat'))
        .reduce((sum, event) => sum + Number(event['count'] ?? 1), 0);
    expect(opens('syscall')).toBe(opens('open'));
    expect(opens('syscount')).toBe(opens('open'));
  });

  it('take no call for a refused one while they are attached and detached', async () => {
    const child = start(join(scratch, 'allowed'));
    await firstLine(child);
    const { manager, trackers } = await harness();
    const seen: unknown[] = [];
    // Of the first, two programs of seccomp are in a chain; of the others, one alone.
    for (const beside of [
      ['syscall'],
      ['syscount'],
      ['open'],
      ['open', 'exec', 'bind'],
      ['fileio'],
      ['ipc', 'privilege'],
    ])
      for (const names of [
        ['seccomp', ...beside],
        [...beside, 'seccomp'],
      ]) {
        const session = await manager.start(
          specOf(
            names.map((name) => ({ name, options: {} })),
            {},
            { comms: ['allowed'] },
          ),
        );
        const reading = (async () => {
          for await (const { events } of session.subscribe({ demand: new Map() }))
            for (const event of events) {
              const runtime = trackers.get(event.tracker);
              if (runtime && event.tracker === 'seccomp') seen.push([names, copyOf(event, runtime)['name']]);
            }
        })();
        await manager.stop(session.id);
        await reading;
        await manager.remove(session.id);
      }
    expect(seen).toEqual([]);
  });

  it('tell each refused call once, and count each call, beside sessions that come and go, and readings', async () => {
    const { manager, trackers } = await harness();
    const names = [...new Set([...adviceTrackers, 'syscall', 'dns', 'tcp', 'exec'])];
    // Each has another target, since sessions of one share their programs.
    const begin = (other: string, chosen = names) =>
      manager.start(
        specOf(
          chosen.map((name) => ({ name, options: {} })),
          {},
          { comms: [...comms, other] },
        ),
      );
    const watching = await Promise.all(
      ['one', 'two'].map(async (other) => {
        const session = await begin(other);
        const events: Seen[] = [];
        const reading = (async () => {
          for await (const batch of session.subscribe({ demand: new Map() }))
            for (const event of batch.events) {
              const runtime = trackers.get(event.tracker);
              if (runtime) events.push(copyOf(event, runtime));
            }
        })();
        return { session, events, reading };
      }),
    );
    let over = false;
    const [ended] = await Promise.all([
      run(program, ['bursts']).finally(() => (over = true)),
      (async () => {
        for (let i = 0; !over; i++) {
          const passing = await begin(`passing ${i}`, i % 2 ? names : ['seccomp', 'open', 'ipc']);
          await manager.remove(passing.id);
        }
      })(),
      (async () => {
        while (!over) await watching[0]?.session.refresh();
      })(),
    ]);
    expect(ended.code).toBe(0);
    const times = 5 + 40 * 50;
    for (const { session, events, reading } of watching) {
      await manager.stop(session.id);
      await reading;
      const of = (tracker: string, name: string) =>
        events
          .filter((one) => one.tracker === tracker && one['name'] === name && one.process.pid === ended.pid)
          .reduce((sum, one) => sum + Number(one['count'] ?? 1), 0);
      expect(of('seccomp', 'acct')).toBe(times);
      expect(events.filter((one) => one.tracker === 'seccomp' && one['name'] !== 'acct')).toEqual([]);
      for (const tracker of ['syscount', 'syscall'])
        expect([tracker, of(tracker, 'acct'), of(tracker, 'getppid')]).toEqual([tracker, times, times]);
      const opened = events.filter((one) => one.tracker === 'opencount' && one['path'] === '/no/file');
      expect(opened.reduce((sum, one) => sum + Number(one['count'] ?? 1), 0)).toBe(times);
    }
  });

  it('see what each sees alone', () => compare('native'));

  itNarrow('see what each sees alone of 32-bit calls', () => compare('i386'));
});
