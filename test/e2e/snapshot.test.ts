import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer } from '../support/server.js';
import { until } from '../support/until.js';

let docker: TestDocker;

beforeAll(async () => {
  docker = await startDocker();
}, 60_000);
afterAll(() => docker.stop(), 120_000);

interface Listening {
  readonly localPort: number;
  readonly netNs: string;
  readonly container: { readonly name: string | null } | null;
  readonly owners: readonly {
    readonly process: { readonly pid: number; readonly comm: string };
    readonly container: { readonly name: string | null } | null;
  }[];
}

it('shows the listening ports and the processes of containers, each in a network namespace of its own', async () => {
  const server = await startServer(['--engine', docker.socket]);
  const ids: Record<string, string> = {};
  // The same port in two namespaces.
  for (const name of ['web-a', 'web-b'])
    ids[name] = await docker.run('-d', '--name', name, TEST_IMAGE, 'httpd', '-f', '-p', '8080');
  const pidOf = async (name: string) =>
    Number(await docker.docker('inspect', '--format', '{{.State.Pid}}', ids[name] ?? ''));
  const ports = await until('both listen', async () => {
    const { sockets } = await server.query<{ sockets: { nodes: readonly Listening[] } }>(
      `{ sockets(where: { expr: "listening && localPort == 8080 && container.name.glob('web-*')" }) {
        nodes { localPort netNs container { name } owners { process { pid comm } container { name } } } } }`,
    );
    return sockets.nodes.length === 2 && sockets.nodes;
  });
  expect(new Set(ports.map(({ netNs }) => netNs)).size).toBe(2);
  for (const name of ['web-a', 'web-b']) {
    const port = ports.find(({ container }) => container?.name === name);
    expect(port?.owners).toEqual([{ process: { pid: await pidOf(name), comm: 'httpd' }, container: { name } }]);
  }

  const { containers } = await server.query<{ containers: { nodes: readonly unknown[] } }>(
    `{ containers(where: { any: [{ name: "web-*" }] }) { nodes { name
      processes { totalCount nodes { ownPid process { pid } executable } }
      sockets(where: { listening: { eq: true } }) { totalCount nodes { localPort } } } } }`,
  );
  expect(containers.nodes).toEqual(
    await Promise.all(
      ['web-a', 'web-b'].map(async (name) => ({
        name,
        processes: {
          totalCount: '1',
          nodes: [
            {
              ownPid: 1,
              process: { pid: await pidOf(name) },
              executable: expect.stringMatching(/busybox|httpd/) as string,
            },
          ],
        },
        sockets: { totalCount: '1', nodes: [{ localPort: 8080 }] },
      })),
    ),
  );
  await docker.docker('rm', '-f', 'web-a');
  const gone = await until('it is gone', async () => {
    const { sockets } = await server.query<{ sockets: { totalCount: string } }>(
      '{ sockets(where: { expr: "listening && localPort == 8080" }) { totalCount } }',
    );
    return sockets.totalCount === '1';
  });
  expect(gone).toBe(true);
}, 120_000);
