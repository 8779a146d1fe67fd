import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
});
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});
afterAll(() => docker.stop());

interface Answer {
  readonly session: {
    readonly notices: readonly string[];
    readonly undecided: string;
    readonly explain: { readonly notices: readonly string[] };
    readonly events: {
      readonly nodes: readonly {
        readonly args: readonly string[] | null;
        readonly container: { readonly id: string; readonly name: string | null } | null;
      }[];
    };
  };
}

const ask = (server: TestServer, id: string) =>
  server
    .query<Answer>(
      'query ($id: ID!) { session(id: $id) { notices undecided explain { notices } events(last: 10000) { nodes { ' +
        'container { id name } ... on ExecEvent { args } } } } }',
      { id },
    )
    .then(({ session }) => session);

/** A container's cgroup and processes as an engine makes them that tells nobody: dockerd is stopped, so another must. */
function startInCgroup(id: string, command: string): void {
  const mount = findCgroupMount(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (!mount) throw new Error('these tests need the cgroup v2 hierarchy');
  const path = join(mount.point, 'docker', id);
  mkdirSync(path);
  const child = spawn('/bin/sh', ['-c', `echo $$ > ${path}/cgroup.procs; exec /bin/sh -c '${command}'`], {
    stdio: 'ignore',
  });
  cleanups.push(async () => {
    child.kill('SIGKILL');
    await until('its cgroup is empty', () => readFileSync(join(path, 'cgroup.procs'), 'utf8') === '');
    rmdirSync(path);
  });
}

it(
  'while the engine is silent, a session by name keeps the events of new containers, says so, and decides once the ' +
    'engine speaks',
  async () => {
    const server = await startServer(['--engine', docker.socket]);
    // Its processes start before the engine falls silent, so that its cgroup is in the engine's place of the tree.
    await docker.run('-d', '--name', 'known', TEST_IMAGE, 'sleep', '120');
    const other = await docker.run(
      '-d',
      '--name',
      'other',
      TEST_IMAGE,
      'sh',
      '-c',
      'while true; do /bin/true other; /bin/sleep 0.1; done',
    );
    const wanted = await startSession(
      server,
      '{ trackers: [{ exec: { failed: false } }], target: { containers: [{ name: "silent-*" }], waitForContainers: true } }',
    );
    const byId = await startSession(
      server,
      `{ trackers: [{ exec: {} }], target: { containers: [{ id: "${other.slice(0, 20)}" }] } }`,
    );
    expect((await ask(server, wanted)).notices).toEqual([]);

    const id = 'c0ffee'.padEnd(64, '0');
    process.kill(docker.pid(), 'SIGSTOP');
    try {
      startInCgroup(id, 'while true; do /bin/true silent; /bin/sleep 0.05; done');
      const seen = await until('its events are kept', async () => {
        const session = await ask(server, wanted);
        return session.events.nodes.some(({ args }) => args?.[1] === 'silent') && session;
      });
      expect(seen.events.nodes.every(({ container }) => container?.id === id && container.name === null)).toBe(true);
      expect(Number(seen.undecided)).toBeGreaterThan(0);
      expect(seen.notices.join()).toContain(`no engine has told the names of 1 container (${id.slice(0, 12)})`);
      expect(seen.explain.notices).toHaveLength(seen.notices.length);
      // Once the engine is found to hang, that is told as well, and still nothing is discarded for want of a name.
      const told = await until('the hang is told', async () => {
        const session = await ask(server, wanted);
        return (
          session.notices.some((notice) => /the engine at .* does not respond \(.*no response within/.test(notice)) &&
          session
        );
      });
      expect(Number(told.undecided)).toBeGreaterThan(Number(seen.undecided));
      expect(told.events.nodes.some(({ container }) => container?.id === other)).toBe(false);
      // What can be decided without a name is.
      const others = await ask(server, byId);
      expect(others.notices).toEqual([]);
      expect(others.undecided).toBe('0');
      expect(others.events.nodes.every(({ container }) => container?.id === other)).toBe(true);
    } finally {
      process.kill(docker.pid(), 'SIGCONT');
    }
    // The engine does not know this container: it is none of the target's, and the session stops keeping its events.
    const decided = await until('it is decided', async () => {
      const session = await ask(server, wanted);
      return (
        session.notices.every((notice) => !notice.includes('undecided') && !notice.includes('does not respond')) &&
        session
      );
    });
    expect(decided.notices.join()).toMatch(/\d+ events were kept while nobody could say/);
    const before = Number(decided.undecided);
    const { discarded } = await statsOf(server, wanted);
    await until('its events are discarded', async () => (await statsOf(server, wanted)).discarded > discarded + 2);
    expect(Number((await ask(server, wanted)).undecided)).toBe(before);
    const { received, discarded: out, delivered, queued } = await statsOf(server, wanted);
    expect(received).toBe(out + delivered + queued);
    expect(await server.end('SIGTERM')).toBe(0);
  },
);
