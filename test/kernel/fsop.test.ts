import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, run, scratch } from '../support/workload.js';
import { itNarrow } from '../support/narrow.js';

/** Prints each call's result, or -errno. */
const source = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "narrow.h"
#include "uring.h"
#define DO(call) do { long r = call; printf("%ld\\n", r < 0 ? (long)-errno : r); } while (0)
static int is(const char *a, const char *b) { return !strcmp(a, b); }

static void plain(void)
{
	int sub = open("sub", O_PATH | O_DIRECTORY), fd = open("file", O_RDWR | O_CREAT, 0600);
	DO(syscall(SYS_mkdir, "d1", 0755)); DO(syscall(SYS_mkdirat, sub, "d2", 01777));
	DO(syscall(SYS_mknod, "fifo", S_IFIFO | 0640, 0)); DO(syscall(SYS_mknodat, sub, "null", S_IFCHR | 0666, makedev(1, 300)));
	DO(syscall(SYS_symlink, "../etc/passwd", "soft")); DO(syscall(SYS_symlinkat, "text", sub, "soft2"));
	DO(syscall(SYS_link, "file", "hard")); DO(syscall(SYS_linkat, AT_FDCWD, "soft", sub, "hard2", 0));
	DO(syscall(SYS_rename, "hard", "renamed")); DO(syscall(SYS_renameat, AT_FDCWD, "renamed", sub, "moved"));
	DO(syscall(SYS_renameat2, sub, "moved", AT_FDCWD, "file", RENAME_NOREPLACE));
	DO(syscall(SYS_renameat2, sub, "moved", AT_FDCWD, "file", RENAME_EXCHANGE));
	DO(syscall(SYS_chmod, "file", 04755)); DO(syscall(SYS_fchmod, fd, 0600)); DO(syscall(SYS_fchmodat, sub, "d2", 0700));
	DO(syscall(452 /* fchmodat2 */, sub, "d2", 0711, AT_SYMLINK_NOFOLLOW));
	DO(syscall(SYS_chown, "file", 1000, -1)); DO(syscall(SYS_lchown, "soft", -1, 1001)); DO(syscall(SYS_fchown, fd, 0, 0));
	DO(syscall(SYS_fchownat, sub, "", 5, 6, AT_EMPTY_PATH));
	DO(syscall(SYS_truncate, "file", 5000000000L)); DO(syscall(SYS_ftruncate, fd, 10)); DO(syscall(SYS_truncate, "file", -1L));
	DO(syscall(SYS_setxattr, "file", "trusted.one", "1", 1, XATTR_CREATE)); DO(syscall(SYS_lsetxattr, "soft", "trusted.two", "1", 1, 0));
	DO(syscall(SYS_fsetxattr, fd, "trusted.one", "2", 1, XATTR_REPLACE)); DO(syscall(SYS_removexattr, "file", "trusted.no"));
	DO(syscall(SYS_lremovexattr, "soft", "trusted.two")); DO(syscall(SYS_fremovexattr, fd, "trusted.one"));
	DO(syscall(SYS_unlink, "fifo")); DO(syscall(SYS_unlinkat, sub, "null", 0)); DO(syscall(SYS_unlinkat, sub, "d2", AT_REMOVEDIR));
	DO(syscall(SYS_rmdir, "d1")); DO(syscall(SYS_unlink, "/no/such")); DO(syscall(SYS_unlink, (char *)8)); DO(syscall(SYS_fchmod, 999, 0600));
}

#ifdef __x86_64__
static void compat(void)
{
	char *low = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	long one = (long)strcpy(low, "file32"), two = (long)strcpy(low + 4096, "file33");
	int fd = open("file32", O_RDWR | O_CREAT, 0600);
	DO(old(15, one, 0640, 0, 0, 0)); DO(old(212, one, 70000, -1, 0, 0)); DO(old(182, one, 7, 0xffff, 0, 0));
	DO(old(193, one, 705032704, 1, 0, 0)); DO(old(93, fd, 10, 0, 0, 0));
	DO(old(353, AT_FDCWD, one, AT_FDCWD, two, RENAME_NOREPLACE)); DO(old(301, AT_FDCWD, two, 0, 0, 0));
}
#endif

#define A(text) .addr = (unsigned long)(text)
static void uring(void)
{
	int sub = open("sub", O_PATH | O_DIRECTORY), fd = open("ringed", O_RDWR | O_CREAT, 0600);
	if (set_up(8, 0)) exit(3);
	DO(go((struct io_uring_sqe){ .opcode = 37, .fd = sub, A("rd"), .len = 0750 }));
	DO(go((struct io_uring_sqe){ .opcode = 38, .fd = sub, A("rtext"), .addr2 = (unsigned long)"rsoft" }));
	DO(go((struct io_uring_sqe){ .opcode = 39, .fd = AT_FDCWD, A("ringed"), .len = sub, .addr2 = (unsigned long)"rhard" }));
	DO(go((struct io_uring_sqe){ .opcode = 35, .fd = sub, A("rhard"), .len = AT_FDCWD,
		.addr2 = (unsigned long)"ringed", .rename_flags = RENAME_NOREPLACE }));
	DO(go((struct io_uring_sqe){ .opcode = 42, A("trusted.ring"), .addr2 = (unsigned long)"1",
		.addr3 = (unsigned long)"ringed", .len = 1, .xattr_flags = XATTR_CREATE }));
	DO(go((struct io_uring_sqe){ .opcode = 41, .fd = fd, A("trusted.ring"), .addr2 = (unsigned long)"1", .len = 1 }));
	DO(go((struct io_uring_sqe){ .opcode = 55, .fd = fd, .off = 4096 }));
	DO(go((struct io_uring_sqe){ .opcode = 36, .fd = AT_FDCWD, A("/no/ring") }));
	DO(go((struct io_uring_sqe){ .opcode = 36, .fd = sub, A("rd"), .unlink_flags = AT_REMOVEDIR }));
}

int main(int argc, char **argv)
{
	if (argc > 2 && chdir(argv[2])) return 1;
	if (is(argv[1], "plain")) plain();
#ifdef __x86_64__
	if (is(argv[1], "compat")) compat();
#endif
	if (is(argv[1], "uring")) uring();
	if (is(argv[1], "unlink")) DO(syscall(SYS_unlink, argv[3]));
	if (is(argv[1], "burst")) { /* DIR COUNT PROCESSES */
		for (int i = 0; i < atoi(argv[4]); i++)
			if (!fork()) { for (int n = 0; n < atoi(argv[3]); n++) syscall(SYS_unlink, "/no/burst"); _exit(0); }
		while (wait(NULL) > 0);
	}
	return 0;
}
`;

let program = '';
let rounds = 0;
beforeAll(async () => {
  program = await compileC('fsops', source);
});

const mine = { pids: [process.pid] };

/** Runs a part of the program in a folder of its own. */
async function work(what: string, ...more: readonly (string | number)[]) {
  const folder = join(scratch, `fsop-${rounds++}`);
  await mkdir(join(folder, 'sub'), { recursive: true });
  const { pid, stdout } = await run(program, [what, folder, ...more.map(String)]);
  return { pid, folder, results: stdout.split('\n').map(Number) };
}

const errnos: Readonly<Record<number, string>> = {
  2: 'ENOENT',
  9: 'EBADF',
  14: 'EFAULT',
  17: 'EEXIST',
  22: 'EINVAL',
  61: 'ENODATA',
};

describe('the tracker fsop', () => {
  it('reports each call with its operation, paths, flags and result', async () => {
    const fsop = await startTracker('fsop', mine);
    const { pid, folder, results } = await work('plain');
    await until('all are here', () => fsop.events.filter((e) => e.process.pid === pid).length >= results.length);
    const events = (await fsop.stop()).filter((e) => e.process.pid === pid);
    const sub = join(folder, 'sub');
    const file = join(folder, 'file');
    const at = (operation: string, path: string | null, more: object = {}) => ({
      fsopOperation: operation,
      path,
      newPath: null,
      newDirectory: null,
      resolved: null,
      resolvedState: null,
      directory: path === null || path.startsWith('/') ? null : folder,
      flags: [],
      attribute: null,
      mode: null,
      modeText: null,
      fileType: null,
      deviceMajor: null,
      deviceMinor: null,
      owner: null,
      group: null,
      length: null,
      ...more,
    });
    const opened = { resolved: file, resolvedState: 'ROOTED', directory: null };
    const expected = [
      at('MKDIR', 'd1', { mode: 0o755, modeText: 'rwxr-xr-x' }),
      at('MKDIR', 'd2', { directory: sub, mode: 0o1777, modeText: 'rwxrwxrwt' }),
      at('MKNOD', 'fifo', { mode: 0o640, modeText: 'rw-r-----', fileType: 'FIFO' }),
      at('MKNOD', 'null', {
        directory: sub,
        mode: 0o666,
        modeText: 'rw-rw-rw-',
        fileType: 'CHARACTER_DEVICE',
        deviceMajor: 1,
        deviceMinor: 300,
      }),
      at('SYMLINK', '../etc/passwd', { directory: null, newPath: 'soft', newDirectory: folder }),
      at('SYMLINK', 'text', { directory: null, newPath: 'soft2', newDirectory: sub }),
      at('LINK', 'file', { newPath: 'hard', newDirectory: folder }),
      at('LINK', 'soft', { newPath: 'hard2', newDirectory: sub }),
      at('RENAME', 'hard', { newPath: 'renamed', newDirectory: folder }),
      at('RENAME', 'renamed', { newPath: 'moved', newDirectory: sub }),
      at('RENAME', 'moved', { directory: sub, newPath: 'file', newDirectory: folder, flags: ['RENAME_NOREPLACE'] }),
      at('RENAME', 'moved', { directory: sub, newPath: 'file', newDirectory: folder, flags: ['RENAME_EXCHANGE'] }),
      at('CHMOD', 'file', { mode: 0o4755, modeText: 'rwsr-xr-x' }),
      at('CHMOD', null, { ...opened, mode: 0o600, modeText: 'rw-------' }),
      at('CHMOD', 'd2', { directory: sub, mode: 0o700, modeText: 'rwx------' }),
      at('CHMOD', 'd2', { directory: sub, mode: 0o711, modeText: 'rwx--x--x', flags: ['AT_SYMLINK_NOFOLLOW'] }),
      at('CHOWN', 'file', { owner: 1000 }),
      at('CHOWN', 'soft', { group: 1001, flags: ['AT_SYMLINK_NOFOLLOW'] }),
      at('CHOWN', null, { ...opened, owner: 0, group: 0 }),
      at('CHOWN', '', { directory: sub, owner: 5, group: 6, flags: ['AT_EMPTY_PATH'] }),
      at('TRUNCATE', 'file', { length: '5000000000' }),
      at('TRUNCATE', null, { ...opened, length: '10' }),
      at('TRUNCATE', 'file', { length: '-1' }),
      at('SETXATTR', 'file', { attribute: 'trusted.one', flags: ['XATTR_CREATE'] }),
      at('SETXATTR', 'soft', { attribute: 'trusted.two', flags: ['AT_SYMLINK_NOFOLLOW'] }),
      at('SETXATTR', null, {
        ...opened,
        resolved: file,
        attribute: 'trusted.one',
        flags: ['XATTR_REPLACE'],
      }),
      at('REMOVEXATTR', 'file', { attribute: 'trusted.no' }),
      at('REMOVEXATTR', 'soft', { attribute: 'trusted.two', flags: ['AT_SYMLINK_NOFOLLOW'] }),
      at('REMOVEXATTR', null, { ...opened, attribute: 'trusted.one' }),
      at('UNLINK', 'fifo'),
      at('UNLINK', 'null', { directory: sub }),
      at('RMDIR', 'd2', { directory: sub, flags: ['AT_REMOVEDIR'] }),
      at('RMDIR', 'd1'),
      at('UNLINK', '/no/such'),
      at('UNLINK', null),
      at('CHMOD', null, { mode: 0o600, modeText: 'rw-------' }),
    ];
    expect(events).toHaveLength(expected.length);
    expected.forEach((one, i) => expect([i, events[i]]).toMatchObject([i, one]));
    expect(results.filter((result) => result < 0).length).toBeGreaterThan(3);
    expect(events.map((e) => e['errno'])).toEqual(
      results.map((result) => (result < 0 ? (errnos[-result] ?? -result) : null)),
    );
  });

  itNarrow('reports 32-bit calls, with their own widths', async () => {
    const fsop = await startTracker('fsop', mine);
    const { pid, results } = await work('compat');
    expect(results).toEqual([0, 0, 0, 0, 0, 0, 0]);
    await until('all are here', () => fsop.events.filter((e) => e.process.pid === pid).length >= results.length);
    const events = (await fsop.stop()).filter((e) => e.process.pid === pid);
    const path = 'file32';
    for (const [i, one] of [
      { fsopOperation: 'CHMOD', path, mode: 0o640 },
      { fsopOperation: 'CHOWN', path, owner: 70000, group: null },
      { fsopOperation: 'CHOWN', path, owner: 7, group: null },
      { fsopOperation: 'TRUNCATE', path, length: String(2 ** 32 + 705032704) },
      { fsopOperation: 'TRUNCATE', path: null, length: '10' },
      { fsopOperation: 'RENAME', path, newPath: 'file33', flags: ['RENAME_NOREPLACE'] },
      { fsopOperation: 'UNLINK', path: 'file33', errno: null },
    ].entries())
      expect([i, events[i]]).toMatchObject([i, one]);
    expect(events).toHaveLength(7);
  });

  it('reports what io_uring does', async () => {
    const fsop = await startTracker('fsop', mine);
    const { pid, folder, results } = await work('uring');
    const sub = join(folder, 'sub');
    expect(results).toEqual([0, 0, 0, -17, 0, 0, 0, -2, 0]);
    await until('all are here', () => fsop.events.filter((e) => e.process.pid === pid).length >= results.length);
    const events = (await fsop.stop()).filter((e) => e.process.pid === pid);
    for (const [i, one] of [
      { fsopOperation: 'MKDIR', path: 'rd', directory: sub, mode: 0o750, errno: null },
      { fsopOperation: 'SYMLINK', path: 'rtext', directory: null, newPath: 'rsoft', newDirectory: sub, flags: [] },
      { fsopOperation: 'LINK', path: 'ringed', directory: folder, newPath: 'rhard', newDirectory: sub },
      { fsopOperation: 'RENAME', path: 'rhard', newPath: 'ringed', flags: ['RENAME_NOREPLACE'], errno: 'EEXIST' },
      { fsopOperation: 'SETXATTR', path: 'ringed', attribute: 'trusted.ring', flags: ['XATTR_CREATE'] },
      { fsopOperation: 'SETXATTR', path: null, resolved: join(folder, 'ringed'), attribute: 'trusted.ring' },
      { fsopOperation: 'TRUNCATE', path: null, resolved: join(folder, 'ringed'), length: '4096' },
      { fsopOperation: 'UNLINK', path: '/no/ring', directory: null, errno: 'ENOENT' },
      { fsopOperation: 'RMDIR', path: 'rd', directory: sub, flags: ['AT_REMOVEDIR'] },
    ].entries())
      expect([i, events[i]]).toMatchObject([i, one]);
    expect(events).toHaveLength(9);
  });

  it('is selected by operation and by failure, and filtered by paths, in the kernel', async () => {
    for (const [options, where, count] of [
      [{ operations: ['RMDIR'] }, undefined, 2],
      [{ failedOnly: true, operations: ['UNLINK'] }, undefined, 2],
      [{}, 'fsopOperation == "RENAME"', 4],
      [{}, 'path.startsWith("ren")', 1],
      [{}, 'newPath == "file" && errno == "EEXIST"', 1],
    ] as const) {
      const fsop = await startTracker('fsop', { ...mine, options, ...(where === undefined ? {} : { where }) });
      await work('plain');
      await fsop.stop();
      const { produced, discarded } = await fsop.stats();
      expect([options, where, produced, discarded]).toEqual([options, where, count, 0]);
    }
  });

  it('has no text where nobody asks for one', async () => {
    const fsop = await startTracker('fsop', { ...mine, capture: 'DEMANDED' });
    const { pid } = await work('unlink', '/no/such');
    expect(await fsop.next((e) => e.process.pid === pid)).toMatchObject({
      fsopOperation: 'UNLINK',
      errno: 'ENOENT',
      path: null,
      directory: null,
    });
  });

  it('counts each call that a small ring loses: produced = lost + received', async () => {
    const [each, processes] = [40_000, 3];
    await expectExactLoss('fsop', { ...mine, comms: ['fsops'] }, each * processes, () =>
      work('burst', each, processes),
    );
  });
});

describe('the same calls, seen by strace', () => {
  it('have the same paths and results', async () => {
    const folder = join(scratch, 'fsop-strace');
    const log = join(scratch, 'fsop.strace');
    await mkdir(join(folder, 'sub'), { recursive: true });
    await writeFile(log, '');
    const calls = '/^(un)?link|^rename|^symlink|^mkdir|^rmdir|^mknod|chmod|chown|truncate|setxattr|removexattr';
    const fsop = await startTracker('fsop', { ...mine, comms: ['fsops'] });
    await run('strace', ['-s', '4096', '-e', `trace=${calls}`, '-o', log, program, 'plain', folder]);
    // An older strace does not know fchmodat2, and shows its number.
    const isNew = (e: Seen) => e['fsopOperation'] === 'CHMOD' && String(e['flags']) === 'AT_SYMLINK_NOFOLLOW';
    const events = await fsop.stop();
    const ours = events
      .filter((e) => !isNew(e))
      .map((e) => {
        const texts = [e['path'], e['newPath'], e['attribute']].filter((text) => text !== null);
        return `${texts.map(String).join(' ')} ${String(e['errno'] ?? 'done')}`;
      });
    const theirs = (await readFile(log, 'utf8')).split('\n').flatMap((line) => {
      const [, name = '', given = '', result = '', errno] = /^(\w+)\((.*)\)\s+= (-?\d+)(?: (\w+))?/.exec(line) ?? [];
      if (name === '' || name === 'fchmodat2' || name.startsWith('syscall_')) return [];
      const texts = [...given.matchAll(/"([^"]*)"/g)].map(([, text]) => text ?? '');
      // The value of an attribute is one more text there.
      if (name.endsWith('setxattr')) texts.splice(-1, 1);
      return [`${texts.join(' ')} ${result === '0' ? 'done' : String(errno)}`];
    });
    expect(theirs.length).toBe(35);
    expect(ours).toEqual(theirs);
  });
});
