import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { buildImage, composeServices, makeBase, runFlags } from '../support/image.js';
import { blocksRunBy } from '../support/page.js';
import { freePort } from '../support/port.js';
import { until } from '../support/until.js';

const IMAGE = 'eunomia:test';
let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
  await makeBase(docker);
  await buildImage(docker, IMAGE);
});
afterAll(() => docker.stop());

/** The body of the README's first query. */
async function firstQuery(): Promise<string> {
  const body = /<<'EOF'[^\n]*\n(\{"query".*\})\nEOF/.exec(await readFile(join(root, 'README.md'), 'utf8'))?.[1];
  if (body === undefined) throw new Error('the README has no first query');
  return body;
}

interface Answer {
  readonly data: {
    readonly trace: {
      readonly stats: { readonly lost: string };
      readonly events: { readonly nodes: readonly { readonly container: object; readonly args: readonly string[] }[] };
    };
  };
}

const isHello = ({ args }: { readonly args: readonly string[] }): boolean => args.at(-1) === 'Hello, kernel';

describe('the image', () => {
  it('holds Node, libbpf and the prebuilt programs, and no compiler', async () => {
    const inside = async (command: string): Promise<string> =>
      docker.run('--rm', '--entrypoint', 'sh', IMAGE, '-c', command);
    expect(
      await inside(
        'for name in clang gcc cc make tsc; do command -v $name; done; ls /usr/bin | grep -c -E ' +
          '"^(clang.*|gcc.*|cc1|.*-gcc|ld[.](bfd|lld)|as)$" || true',
      ),
    ).toBe('0');
    expect(await inside('ls dist/bpf/*/trackers | wc -l')).not.toBe('0');
    expect(await inside('ls node_modules | grep -x -E "typescript|vitest|oxlint" || true')).toBe('');
    expect(await inside('ls /opt/eunomia/plugins')).toContain('reverse-shell.ts');
    // With its types: an editor outside of the container reads them.
    expect(
      await inside(
        'cd /tmp && eunomia plugin new mine && ls mine/eunomia mine/eunomia/generated && eunomia plugin test ' +
          'mine --replay mine/events.ndjson --sandbox',
      ),
    ).toMatch(/plugin\.d\.ts[^]*plugin-event\.d\.ts[^]*"web: ls":1/);
    expect(await docker.run('--rm', IMAGE, '--version')).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it("returns the first query of the README with the capabilities of compose.yaml, and sees the host's containers", async () => {
    const { eunomia } = await composeServices();
    if (!eunomia) throw new Error('compose.yaml has no service eunomia');
    const port = await freePort();
    await docker.run(
      '--detach',
      '--name',
      'eunomia',
      '--env',
      `EUNOMIA_PORT=${port}`,
      '--env',
      'EUNOMIA_TOKENS=operator:act-on-containers,viewer:see-what-they-do',
      ...(await runFlags(docker, eunomia)),
      IMAGE,
      'serve',
      '--metrics-config',
      '/etc/eunomia/metrics.yaml',
    );
    const base = `http://127.0.0.1:${port}`;
    try {
      await until('the server answers', () =>
        fetch(`${base}/metrics`, { headers: { authorization: 'Bearer see-what-they-do' } }).then(
          ({ ok }) => ok,
          () => false,
        ),
      ).catch(async () => {
        throw new Error(await docker.docker('logs', 'eunomia'));
      });
      // The trace runs for five seconds: on a busy machine, a container may begin after it.
      const says = async (name: string): Promise<Answer['data']['trace'] | null> => {
        const answer = fetch(`${base}/graphql`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: 'Bearer act-on-containers' },
          body: await firstQuery(),
        });
        await until('the trace runs', async () => {
          const response = await fetch(`${base}/graphql`, {
            method: 'POST',
            headers: { 'content-type': 'application/json', authorization: 'Bearer act-on-containers' },
            body: JSON.stringify({ query: '{ sessions(state: RUNNING) { nodes { id } } }' }),
          });
          const { data } = (await response.json()) as { data: { sessions: { nodes: object[] } } };
          return data.sessions.nodes.length > 0;
        });
        // It lives for a second: where containers have no v2 cgroup, the first process must be there to be looked up.
        const work = 'sleep 1; exec /bin/busybox echo "Hello, kernel"';
        await docker.run('--rm', '--network', 'none', '--name', name, TEST_IMAGE, 'sh', '-c', work);
        const { trace } = ((await (await answer).json()) as Answer).data;
        return trace.events.nodes.some(isHello) ? trace : null;
      };
      let name = 'hello';
      let trace = await says(name);
      for (let i = 1; trace === null && i < 5; i++) trace = await says((name = `hello-${i}`));
      const hello = trace?.events.nodes.filter(isHello);
      expect(hello).toMatchObject([
        {
          container: { name, image: TEST_IMAGE },
          executable: '/bin/busybox',
          args: ['/bin/busybox', 'echo', 'Hello, kernel'],
          process: { comm: 'busybox' },
        },
      ]);
      expect(trace?.stats.lost).toBe('0');
      const stores = await fetch(`${base}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Bearer act-on-containers' },
        body: JSON.stringify({ query: '{ stores { kind state problem } }' }),
      });
      expect(await stores.json()).toEqual({ data: { stores: [{ kind: 'EMBEDDED', state: 'READY', problem: null }] } });
      await until('its metrics', async () =>
        (
          await (await fetch(`${base}/metrics`, { headers: { authorization: 'Bearer see-what-they-do' } })).text()
        ).includes(`\neunomia_events_total{tracker="exec",container="${name}",session="host"} 3\n`),
      );
    } finally {
      await docker.docker('rm', '-f', 'eunomia');
    }
  });
});

describe('compose.yaml', () => {
  it('runs the image as docs/docker.md does, which is how it is run above', async () => {
    const { eunomia } = await composeServices();
    const [shown] = blocksRunBy('test/e2e/image.test.ts', 1);
    const [, flags = ''] = /^docker run -d --name eunomia (.*) eunomia$/ms.exec(shown?.text ?? '') ?? [];
    const own = eunomia ? await runFlags(docker, eunomia) : [];
    // An engine that does not know the two gets SYS_ADMIN instead of them, as the page says.
    const known = own.includes('SYS_ADMIN')
      ? flags.replace('--cap-add BPF --cap-add PERFMON', '--cap-add SYS_ADMIN')
      : flags;
    const asShown = own
      .join(' ')
      .replaceAll('--volume', '-v')
      .replace(docker.socket, '/var/run/docker.sock')
      .replace('history:', 'eunomia:');
    expect(
      asShown
        .replace(/ -v \S+metrics\.yaml\S*/, '')
        .split(' -')
        .sort(),
    ).toEqual(
      known
        .replaceAll(/\s+(?:\\\n)?\s*/g, ' ')
        .split(' -')
        .sort(),
    );
  });

  it('pins every image, and mounts only files that are there', async () => {
    for (const [name, { image, volumes }] of Object.entries(await composeServices())) {
      expect(`${name}: ${image}`).toMatch(/:v?\d+\.\d+\.\d+$/);
      for (const volume of volumes) {
        const [from = ''] = volume.split(':');
        if (from.startsWith('./')) expect(existsSync(join(root, 'docker', from)) ? '' : from).toBe('');
      }
    }
  });
});
