import { readFileSync, statSync } from 'node:fs';
import { expect, it } from 'vitest';
import { startServer, startSession } from '../support/server.js';

it('a cgroup that is not there is no target; one that is, is', async () => {
  const server = await startServer();
  const mount = /^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))?.[1] ?? '';
  const there = statSync(mount, { bigint: true }).ino;
  const target = (id: string): string => `{ trackers: [{ exec: {} }], target: { cgroups: ["${there}", "${id}"] } }`;
  await expect(startSession(server, target('987654321'))).rejects.toThrow(
    /input\.target\.cgroups\[1\]: there is no v2 cgroup with the id 987654321.*UNKNOWN_CGROUP/,
  );
  await startSession(server, target(String(there)));
});
