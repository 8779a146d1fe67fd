import { expect, it } from 'vitest';
import { neededCapabilities } from '../../src/linux/hook-capability.js';
import { servedBy, type Ask } from '../support/served.js';

interface Told {
  readonly name: string;
  readonly available: boolean;
  readonly problem: string | null;
  readonly hooks: readonly string[];
  readonly missingCapabilities: readonly string[];
}

/** Runs the server with these capabilities alone. */
function withCapabilities<Result>(names: readonly string[], use: (ask: Ask) => Promise<Result>): Promise<Result> {
  const caps = ['-all', ...names.map((name) => `+${name.replace('CAP_', '').toLowerCase()}`)].join(',');
  return servedBy(['setpriv', '--bounding-set', caps, '--inh-caps', caps], use);
}
const all = neededCapabilities.map(({ name }) => name);
const query = '{ trackers { name available problem hooks missingCapabilities } }';
const starting = (name: string) => `mutation { startSession(input: { trackers: [{ ${name}: {} }] }) { state } }`;

it('runs every tracker with the capabilities of the table alone', async () => {
  await withCapabilities(all, async (ask) => {
    const { trackers } = await ask<{ trackers: Told[] }>(query);
    expect(trackers.length).toBeGreaterThan(4);
    expect(trackers.filter(({ available }) => !available)).toEqual([]);
    for (const { name } of trackers) expect(await ask(starting(name))).toEqual({ startSession: { state: 'RUNNING' } });
  });
});

it('says without CAP_NET_ADMIN which trackers that takes away, and runs the others', async () => {
  const lacking = 'CAP_NET_ADMIN';
  await withCapabilities(
    all.filter((name) => name !== lacking),
    async (ask) => {
      const { trackers } = await ask<{ trackers: Told[] }>(query);
      const without = trackers.filter(({ available }) => !available);
      expect(without.map(({ name }) => name)).toContain('dns');
      for (const { hooks, missingCapabilities, problem, name } of without) {
        expect(missingCapabilities).toEqual([lacking]);
        expect(problem).toContain(`this process lacks ${lacking}`);
        expect(hooks.some((hook) => hook.startsWith('cgroup'))).toBe(true);
        // The kernel says so, too.
        await expect(ask(starting(name))).rejects.toThrow(/EPERM \(needs root, or .*CAP_NET_ADMIN/);
      }
      for (const { name, available } of trackers)
        if (available) expect(await ask(starting(name))).toEqual({ startSession: { state: 'RUNNING' } });
    },
  );
});
