import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BpfObject } from '../../src/kernel/object.js';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { isInPath } from '../support/strace.js';
import { until } from '../support/until.js';
import { compileBpf, compileC, ended, firstLine, run, scratch, start } from '../support/workload.js';

const source = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uring.h"
static int is(const char *what, const char *name) { return !strcmp(what, name); }
int main(int argc, char **argv)
{
	char byte;

	for (int i = 1; i + 1 < argc; i += 2) {
		const char *what = argv[i], *path = argv[i + 1];
		int got = 0;

		errno = 0;
		if (is(what, "wait")) { puts(path); fflush(stdout); got = read(0, &byte, 1); continue; }
		if (is(what, "read")) got = open(path, O_RDONLY | O_NONBLOCK);
		if (is(what, "write")) got = open(path, O_WRONLY);
		if (is(what, "both")) got = open(path, O_RDWR);
		if (is(what, "path")) got = open(path, O_PATH);
		if (is(what, "access")) got = access(path, W_OK);
		if (is(what, "exists")) got = access(path, F_OK);
		if (is(what, "kmsg")) got = mknod(path, S_IFCHR | 0600, makedev(1, 11));
		if (is(what, "disk")) got = mknod(path, S_IFBLK | 0600, makedev(7, 0x12345));
		if (is(what, "fifo")) got = mknod(path, S_IFIFO | 0600, 0);
		if (is(what, "remove")) got = unlink(path);
		if (is(what, "uring")) {
			if (set_up(4, 0)) return 3;
			got = go((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .flags = IOSQE_ASYNC, .fd = AT_FDCWD,
				.addr = (long)path, .open_flags = O_RDONLY });
		}
		if (is(what, "burst")) { /* so many checks by each of three processes */
			for (int p = 0; p < 3; p++) if (!fork()) {
				for (int n = 0; n < atoi(path); n++) access("/dev/kmsg", R_OK);
				_exit(0);
			}
			while (wait(NULL) > 0);
		}
		printf("%d\\n", got < 0 ? -errno : 0);
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('devices', source);
});

const mine = { pids: [process.pid] };

async function used(args: readonly string[], options: TrackOptions = {}) {
  const tracked = await startTracker('device', { ...mine, ...options });
  const { pid, code, stdout } = await run(program, args);
  expect(code).toBe(0);
  const events = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'devices');
  return { pid, events, results: stdout.split('\n').map(Number), stats: await tracked.stats() };
}
const brief = (events: readonly Seen[]) =>
  events.map((e) => [e['type'], e['major'], e['minor'], e['name'], String(e['access'])]);
const KMSG = ['CHARACTER', 1, 11, 'kmsg'];

const objects: BpfObject[] = [];
const cgroups: string[] = [];
afterEach(async () => {
  for (const object of objects.splice(0)) await object.close();
  for (const path of cgroups.splice(0)) {
    await until(`${path} is empty`, async () => (await readFile(join(path, 'cgroup.procs'), 'utf8')) === '');
    await rmdir(path);
  }
});

describe('the tracker device', () => {
  it('reports opens, checks of access and making, with the numbers of the device, whatever its file is called', async () => {
    const made = join(scratch, 'made');
    const disk = join(scratch, 'disk');
    const { events, results, pid } = await used([
      ...['read', '/dev/kmsg', 'write', '/dev/kmsg', 'both', '/dev/fuse', 'access', '/dev/kmsg'],
      ...['kmsg', made, 'read', made, 'remove', made],
      ...['disk', disk, 'remove', disk, 'fifo', made, 'remove', made],
      ...['path', '/dev/kmsg', 'exists', '/dev/kmsg', 'read', '/etc/hostname', 'read', '/no/such/device'],
    ]);
    expect(results).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -2]);
    expect(brief(events)).toEqual([
      [...KMSG, 'READ'],
      [...KMSG, 'WRITE'],
      ['CHARACTER', 10, 229, 'fuse', 'READ,WRITE'],
      [...KMSG, 'WRITE'],
      [...KMSG, 'MAKE'],
      [...KMSG, 'READ'],
      ['BLOCK', 7, 0x12345, null, 'MAKE'],
    ]);
    expect(events[0]).toMatchObject({ process: { pid, comm: 'devices' }, denied: false });
  });

  it('has the numbers that the file system tells of a file', async () => {
    const files = [
      '/dev/console',
      '/dev/fuse',
      '/dev/kmsg',
      '/dev/null',
      '/dev/tty1',
      '/dev/urandom',
      '/dev/zero',
      '/dev/vda',
    ]
      .map((path) => ({ path, rdev: statSync(path, { throwIfNoEntry: false })?.rdev }))
      .filter(({ rdev }) => rdev !== undefined);
    expect(files.length).toBeGreaterThan(5);
    const { events } = await used(
      files.flatMap(({ path }) => ['access', path]),
      { options: { ordinary: true } },
    );
    const rdevs = events.map(
      ({ major, minor }) => (Number(major) << 8) | (Number(minor) & 0xff) | ((Number(minor) >> 8) << 20),
    );
    expect(rdevs).toEqual(files.map(({ rdev }) => rdev));
  });

  it('leaves out the devices that any program uses, unless they are asked for', async () => {
    const args = ['null', 'zero', 'full', 'random', 'urandom', 'ptmx'].flatMap((name) => ['read', `/dev/${name}`]);
    expect((await used([...args, 'read', '/dev/kmsg'])).events.map((e) => e['name'])).toEqual(['kmsg']);
    expect((await used(args, { options: { ordinary: true } })).events.map((e) => e['name'])).toEqual([
      ...['null', 'zero', 'full', 'random', 'urandom', 'ptmx'],
    ]);
  });

  it("reports an open by io_uring as the process's", async () => {
    const { events, results, pid } = await used(['uring', '/dev/kmsg']);
    expect(results).toEqual([0]);
    expect(brief(events)).toEqual([[...KMSG, 'READ']]);
    expect(events[0]?.process).toMatchObject({ pid, comm: 'devices' });
  });

  it('tells what the rules of a cgroup deny, and changes nothing of that', async () => {
    const cgroup = join(
      findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'))?.point ?? '',
      `eunomia-test-${process.pid}-device`,
    );
    await mkdir(cgroup);
    cgroups.push(cgroup);
    const path = await compileBpf(
      'deny',
      `#include "vmlinux.h"
      #include <bpf/bpf_helpers.h>
      struct bpf_cgroup_dev_ctx { __u32 access_type, major, minor; };
      char LICENSE[] SEC("license") = "Dual BSD/GPL";
      SEC("cgroup/dev") int deny(struct bpf_cgroup_dev_ctx *ctx) { return ctx->major != 1 || ctx->minor != 11; }`,
    );
    const rules = await BpfObject.open({
      name: 'deny',
      path,
      constants: {},
      unneeded: [],
      attachments: { deny: { cgroup } },
    });
    objects.push(rules);
    await rules.load();
    await rules.attach();
    const within = async (options: TrackOptions) => {
      const child = start(program, ['wait', 'ready', 'read', '/dev/kmsg', 'read', '/dev/fuse']);
      expect(await firstLine(child)).toBe('ready');
      await writeFile(join(cgroup, 'cgroup.procs'), String(child.pid));
      const tracked = await startTracker('device', { pids: [child.pid ?? 0], ...options });
      const exited = ended(child);
      child.stdin?.end();
      const { stdout } = await exited;
      expect(stdout.split('\n')).toEqual(['-1', '0']); // EPERM
      return (await tracked.stop()).map((e) => [e['name'], e['denied']]);
    };
    expect(await within({})).toEqual([
      ['kmsg', true],
      ['fuse', false],
    ]);
    expect(await within({ options: { deniedOnly: true } })).toEqual([['kmsg', true]]);
    expect(await within({ where: '!denied' })).toEqual([['fuse', false]]);
  });

  it('is filtered in the kernel', async () => {
    const made = join(scratch, 'filtered');
    const args = ['read', '/dev/kmsg', 'both', '/dev/fuse', 'kmsg', made, 'remove', made, 'disk', made, 'remove', made];
    for (const [where, expected] of [
      ['type == "BLOCK"', 1],
      ['major == 1 && minor == 11', 2],
      ['"WRITE" in access', 1],
      ['"MAKE" in access && type == "CHARACTER"', 1],
      ['denied', 0],
      ['process.comm == "other"', 0],
    ] as const) {
      const { events, stats } = await used(args, { where });
      expect([where, events.length]).toEqual([where, expected]);
      expect(stats).toMatchObject({ produced: expected, discarded: 0, lost: 0 });
    }
  });

  it('agrees with strace on the files that were opened', async (test) => {
    if (!isInPath('strace')) test.skip('strace is not installed (apt-get install strace)');
    const log = join(scratch, 'device.strace');
    const tracked = await startTracker('device', { ...mine, options: { ordinary: true } });
    const args = Array.from({ length: 50 }, (_, i) => [
      'read',
      ['/dev/kmsg', '/dev/null', '/dev/fuse', '/etc/hostname'][i % 4] ?? '',
    ]);
    await run('strace', ['-yy', '-o', log, program, ...args.flat()]);
    const events = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'devices');
    // With -yy strace has the numbers, of the descriptor: "= 3</dev/kmsg<char 1:11>>"
    const theirs = [...(await readFile(log, 'utf8')).matchAll(/^open(?:at)?\(.* = \d+<[^<]*<char (\d+:\d+)>>$/gm)].map(
      ([, numbers]) => numbers,
    );
    expect(theirs.length).toBe(38);
    expect(events.map(({ major, minor }) => `${String(major)}:${String(minor)}`)).toEqual(theirs);
  });

  it('counts each event that a small ring loses: produced = lost + received', async () => {
    const each = 20_000;
    await expectExactLoss('device', mine, each * 3, () => run(program, ['burst', String(each)]));
  });
});
