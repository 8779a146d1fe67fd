import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import type { Advice, Rights, SeccompProfile } from '../../src/event/advice.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { until } from '../support/until.js';
import { isInPath, straced } from '../support/strace.js';

const exec = promisify(execFile);
const main = join(root, 'dist/main.js');
const TRACKERS =
  '[{ syscount: { latency: false } }, { capability: {} }, { exec: {} }, { open: {} }, { fsop: {} }, { device: {} }, { bind: {} }, ' +
  '{ tcp: {} }, { dns: {} }, { privilege: {} }, { seccomp: {} }]';

/** Copies of containers are made for an admin. */
const TOKEN = 'secret-of-the-admin';
/** Waits until somebody watches; then what a shell script of a job does. */
const WORK = [
  'while [ ! -e /tmp/go ]; do sleep 0.1; done',
  'mkdir -p /tmp/job',
  'cat /etc/hostname > /tmp/job/copy',
  'chown 7:7 /tmp/job/copy',
  'mv /tmp/job/copy /tmp/job/moved',
  'echo done >> /tmp/log',
  'ls -l /tmp/job | sort | head -1 > /dev/null',
  // Under the name of a runtime.
  "sh -c 'echo runc > /proc/self/comm; kill -0 $$'",
].join(' && ');

/** Waits in one call for a connection that never comes, beside a loop. */
const BESIDE = 'nc -l -p 8123 & while :; do sleep 0.3; done';

let docker: TestDocker;
let folder: string;
let server: TestServer;
let id: string;
let witness: string;

async function cli(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return exec(process.execPath, [main, ...args], {
    maxBuffer: 64 << 20,
    env: { ...process.env, EUNOMIA_TOKEN: TOKEN },
  });
}

const allowed = ({ syscalls }: SeccompProfile): string[] =>
  syscalls.filter(({ action }) => action === 'SCMP_ACT_ALLOW').flatMap(({ names }) => [...names]);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-advise-'));
  witness = join(folder, 'strace');
  docker = await startDocker();
  const args = ['--engine', docker.host, '--data-dir', join(folder, 'data'), '--token', `admin:${TOKEN}`];
  server = await startServer(args, { keep: true, token: TOKEN });
  id = await startSession(
    server,
    `{ trackers: ${TRACKERS}, target: { containers: [{ name: "job" }], waitForContainers: true }, persist: { mode: EVENTS } }`,
  );
  await docker.run('-d', '--name', 'job', TEST_IMAGE, 'sh', '-c', WORK);
  const pid = await docker.docker('inspect', '--format', '{{.State.Pid}}', 'job');
  const strace = spawn('strace', ['-f', '-c', '-o', witness, '-p', pid], { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = new Promise((resolve) => strace.once('close', resolve));
  await new Promise((resolve) => strace.stderr.once('data', resolve));
  await docker.docker('exec', 'job', 'true');
  await writeFile(`/proc/${pid}/root/tmp/go`, '');
  await ended;
  await docker.docker('wait', 'job');
  await stopSession(server, id);
});

afterAll(async () => {
  await server?.end('SIGTERM');
  await docker?.stop();
  await rm(folder, { recursive: true, force: true });
});

describe('advice for a container', () => {
  let out: string;
  let advice: Advice;
  const profile = (): string => join(out, 'seccomp.json');

  beforeAll(async () => {
    out = join(folder, 'out');
    const { stdout } = await cli('advise', 'job', '--session', id, '--server', server.url, '--out', out, '-o', 'json');
    advice = JSON.parse(stdout) as Advice;
  });

  it('allows every call that strace saw, and not half of those of the default profile', async (test) => {
    if (!isInPath('strace')) test.skip('strace is not installed (apt-get install strace)');
    const calls = allowed(advice.rights.seccomp);
    const seen = [...straced(witness).keys()];
    expect(seen.length).toBeGreaterThan(15);
    expect(seen.filter((name) => !calls.includes(name))).toEqual([]);
    expect(advice.defaultProfile.remaining * 2).toBeLessThan(advice.defaultProfile.allowed);
    // What the runtime did to make the container is not the container's.
    for (const name of ['pivot_root', 'setns', 'mount', 'umount2']) expect(calls).not.toContain(name);
    expect(advice.coverage.programs.filter((path) => path.startsWith('(unreachable)'))).toEqual([]);
    // Its name does not make a program the runtime.
    expect(calls).toContain('kill');
    // The rest has its reason: it was seen by the trackers, or the line says who needs it.
    const surplus = advice.lines.filter(({ aspect, what }) => aspect === 'CALL' && !seen.includes(what));
    for (const { evidence, why } of surplus) expect(evidence !== null || why !== 'is needed').toBe(true);
  });

  it('has the capabilities that were used, and the directories that were written to', () => {
    expect(advice.rights.capabilities).toEqual(['CAP_CHOWN']);
    expect(advice.rights).toMatchObject({
      readOnlyRoot: true,
      noNewPrivileges: true,
      user: null,
      ports: [],
      peers: [],
    });
    expect(advice.rights.tmpfs.map(({ path }) => path)).toEqual(['/tmp']);
    expect(advice.coverage).toMatchObject({ startSeen: true, lost: 0, dropped: 0 });
    expect(advice.coverage.programs).toContain('/bin/busybox');
  });

  it('runs the container, and refuses what is outside of it', async () => {
    const run = (command: string): Promise<string> =>
      docker.run(
        '--rm',
        '--read-only',
        ...advice.rights.tmpfs.flatMap(({ path, sizeBytes }) => ['--tmpfs', `${path}:size=${sizeBytes}`]),
        '--cap-drop',
        'ALL',
        ...advice.rights.capabilities.flatMap((name) => ['--cap-add', name.slice('CAP_'.length)]),
        '--security-opt',
        `seccomp=${profile()}`,
        '--security-opt',
        'no-new-privileges',
        TEST_IMAGE,
        'sh',
        '-c',
        command,
      );
    await run(`: > /tmp/go; ${WORK}`);
    await expect(run('chroot / true')).rejects.toThrow(/Operation not permitted/);
    await expect(run('echo > /etc/passwd')).rejects.toThrow(/Read-only file system/);
  });

  it('is the same from the history', async () => {
    const from = advice.coverage.from ?? '';
    const { stdout } = await cli('advise', 'job', '--from', from, '--server', server.url, '-o', 'json');
    const stored = JSON.parse(stdout) as Advice;
    expect(stored.rights).toEqual(advice.rights);
    expect(stored.lines).toEqual(advice.lines);
  });

  it('writes rules that can be loaded, and tells what differs', async () => {
    await cli('rules', 'check', join(out, 'rules.yaml'));
    const file = join(out, 'advice.json');
    const { stdout, stderr } = await cli('advise', '--merge', file, '--diff', file);
    expect(stdout).toBe('');
    expect(stderr).toContain('no difference');
    const { advise } = await server.query<{ advise: { changes: { aspect: string; what: string; change: string }[] } }>(
      `{ advise(input: { container: "job", session: "${id}" }) { changes { aspect what change } } }`,
    );
    expect(advise.changes).toContainEqual({ aspect: 'CAPABILITY', what: 'CAP_NET_RAW', change: 'REMOVED' });
    expect(advise.changes).toContainEqual({ aspect: 'ROOT', what: '/', change: 'CHANGED' });
    expect(await readFile(join(out, 'advice.md'), 'utf8')).toContain('# Least privilege for job');
  });

  it.each([
    [['nobody', '--session', 'ID'], /no event that was recorded is of a container "nobody"/],
    [['--session', 'ID'], /whose rights\?/],
    [['job', '--session', 'none'], /there is no session "none"/],
    [['--merge', '/no/such/file'], /--merge: .*ENOENT/],
    [['--merge', main], /--merge: .*JSON/],
  ])('says what is wrong with %j', async (args, message) => {
    const given = args.map((arg) => (arg === 'ID' ? id : arg));
    const where = given.includes('--merge') ? [] : ['--server', server.url];
    await expect(cli('advise', ...given, ...where)).rejects.toMatchObject({ stderr: expect.stringMatching(message) });
  });

  it('watches a container that runs, also one that waits in a call, and leaves no session behind', async () => {
    await docker.run('-d', '--name', 'waits', TEST_IMAGE, 'sh', '-c', BESIDE);
    const { stdout } = await cli('advise', 'waits', '--for', '2s', '--server', server.url, '-o', 'json');
    const waits = JSON.parse(stdout) as Advice;
    expect(waits.lines.find(({ what }) => /^(accept|poll)/.test(what))?.evidence).toMatchObject({ count: 0 });
    const { sessions } = await server.query<{ sessions: { nodes: { name: string | null }[] } }>(
      '{ sessions { nodes { name } } }',
    );
    expect(sessions.nodes.filter(({ name }) => name?.startsWith('eunomia advise'))).toEqual([]);
    await docker.docker('rm', '-f', 'waits');
  });

  it('becomes rules, which raise an alert for what is outside of it', async () => {
    const connects = 'while :; do nc -w 1 127.0.0.1 9 < /dev/null; sleep 0.1; done';
    await docker.run('-d', '--name', 'families', TEST_IMAGE, 'sh', '-c', connects);
    const made = join(folder, 'families');
    await cli('advise', 'families', '--for', '3s', '--server', server.url, '--out', made);
    const content = await readFile(join(made, 'rules.yaml'), 'utf8');
    expect(content).toContain('families_socket_arguments:\n    - 2\n');
    await server.query('mutation ($input: LoadRulesInput!) { loadRules(input: $input) { name } }', {
      input: { name: 'families', source: content },
    });
    const alerts = async (): Promise<string[]> => {
      const { alerts: all } = await server.query<{ alerts: { nodes: { message: string }[] } }>(
        '{ alerts(first: 100) { nodes { message } } }',
      );
      return all.nodes.map(({ message }) => message);
    };
    await docker.docker('exec', 'families', 'ip', 'link');
    await until('the alert', async () => (await alerts()).includes('ip called socket with 16'));
    expect((await alerts()).filter((message) => message.startsWith('nc '))).toEqual([]);
    await server.query('mutation { unloadRules(name: "families") }');
    await docker.docker('rm', '-f', 'families');
  });

  it('tries what it recommends with copies, and writes what they ran under', async () => {
    const work = 'while :; do date > /tmp/now; sleep 0.2; done';
    await docker.run('-d', '--name', 'tried', TEST_IMAGE, 'sh', '-c', work);
    const made = join(folder, 'tried');
    const watched = ['advise', 'tried', '--for', '2s', '--server', server.url, '--out', made];
    const { stderr } = await cli(...watched, '--verify', '--check', 'test -e /tmp/now');
    expect(stderr).toMatch(/^copy 1: .*refusal/m);
    expect(stderr).toMatch(/^outside: call \S+ was refused$/m);
    expect(stderr).toMatch(/^verified: /m);
    expect(await readFile(join(made, 'verification.md'), 'utf8')).toMatch(/^- call \S+: \S+ \(\d+\)/m);
    const profile = JSON.parse(await readFile(join(made, 'seccomp.json'), 'utf8')) as SeccompProfile;
    const verification = JSON.parse(await readFile(join(made, 'verification.json'), 'utf8')) as { rights: Rights };
    expect(profile).toEqual(verification.rights.seccomp);
    expect(allowed(profile)).toContain('execve');
    expect(await docker.docker('ps', '-q', '--filter', 'name=^tried$')).not.toBe('');
    // What was watched of the runtime is in the advice from now on.
    const { stdout } = await cli('advise', 'tried', '--for', '1s', '--server', server.url, '-o', 'json');
    expect((JSON.parse(stdout) as Advice).problems.filter((text) => text.startsWith('What the runtime needs'))).toEqual(
      [],
    );
    await expect(cli(...watched, '--verify', '--check', 'false')).rejects.toMatchObject({
      stderr: expect.stringContaining("fails under the container's own rights too"),
    });
    await docker.docker('rm', '-f', 'tried');
  });

  it.each([
    [['job', '--session', 'ID', '--check', 'true'], /--check: belongs to --verify/],
    [['--image', 'x', '--session', 'ID', '--verify'], /--verify: name one container/],
    [
      ['job', '--session', 'ID', '--verify', '--check', 'true', '--probe', 'http://localhost'],
      /cannot be used with option/,
    ],
    [['job', '--session', 'ID', '--verify', '--probe', 'nowhere'], /"nowhere" is no URL/],
    [['job', '--session', 'ID', '--verify', '--check-timeout', '10'], /10/],
  ])('says what is wrong with a verification: %j', async (args, message) => {
    const given = args.map((arg) => (arg === 'ID' ? id : arg));
    await expect(cli('advise', ...given, '--server', server.url)).rejects.toMatchObject({
      stderr: expect.stringMatching(message),
    });
  });
});
