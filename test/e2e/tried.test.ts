import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { servedBy, type Ask } from '../support/served.js';
import { scratch } from '../support/workload.js';

const point = findCgroupMount(readFileSync('/proc/self/mountinfo', 'utf8'))?.point ?? '';

/** What each server says of two trackers; both keep in one folder whether trackers load. */
async function problems(command: readonly [string, ...string[]]): Promise<object> {
  const of = async (ask: Ask) => {
    const { exec, dns } = await ask<Record<'exec' | 'dns', [{ problem: string | null }]>>(
      '{ exec: trackers(name: "exec") { problem } dns: trackers(name: "dns") { problem } }',
    );
    return { exec: exec[0].problem, dns: dns[0].problem };
  };
  return servedBy(command, of, { RUNTIME_DIRECTORY: join(scratch, 'run') });
}

it('does not remember that the root of the cgroups was there', async () => {
  const usual = { exec: null, dns: null };
  expect(await problems(['env'])).toEqual(usual);
  const hidden = `umount -l ${point} && exec "$@"`;
  expect(await problems(['unshare', '-m', '--propagation', 'private', 'sh', '-c', hidden, 'sh'])).toEqual({
    exec: null,
    dns: expect.stringContaining('no cgroup v2 hierarchy is mounted') as string,
  });
  expect(await problems(['env'])).toEqual(usual);
});
