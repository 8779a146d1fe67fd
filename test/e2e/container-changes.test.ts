import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer } from '../support/server.js';

let docker: TestDocker;
beforeAll(async () => {
  docker = await startDocker();
});
afterAll(() => docker.stop());

interface Change {
  readonly containerChanged: {
    readonly kind: string;
    readonly before: string | null;
    readonly container: { readonly name: string | null; readonly state: string };
  };
}

it('containerChanged tells of a real container over its whole life', async () => {
  const server = await startServer(['--engine', docker.socket]);
  const changes = server.subscribe<Change>(
    'subscription { containerChanged(where: { any: [{ name: "lived-*" }] }) { kind before container { name state } } }',
  );
  const seen: Change['containerChanged'][] = [];
  const reading = (async () => {
    for await (const { containerChanged } of changes) {
      seen.push(containerChanged);
      if (containerChanged.container.state === 'REMOVED') return;
    }
  })();
  await docker.run('--rm', '--name', 'lived-on', TEST_IMAGE, 'sleep', '0.5');
  await reading;
  expect(new Set(seen.map(({ container }) => container.name))).toEqual(new Set(['lived-on']));
  expect(seen.filter(({ kind }) => kind === 'STARTED')).toHaveLength(1);
  expect(seen.filter(({ kind }) => kind === 'STOPPED')).toHaveLength(1);
  // Each tells what was told before it.
  expect(seen.slice(1).map(({ before }) => before)).toEqual(seen.slice(0, -1).map(({ container }) => container.state));
});
