import { expect, it } from 'vitest';
import { ContainerDirectory } from './directory.js';
import { NamespaceContainers } from './namespace.js';

// Beyond the kernel's largest pid: no process has it.
const NO_PID = 5_000_000;

it('looks at so many first processes a second at most, however many namespaces are made, and identifies all of them', async () => {
  let looks = 0;
  const directory = new ContainerDirectory();
  const namespaces = await NamespaceContainers.create({
    directory,
    hostMountNs: 1,
    ownerOf: async () => {
      looks += 1;
      return undefined;
    },
  });
  if (!namespaces) throw new Error('the tests run in a pid namespace of their own');
  const since = performance.now();
  const found = [];
  for (let i = 0; i < 5000; i++) found.push(await namespaces.resolve({ pid: NO_PID + i, start: 7 }, 2));
  const seconds = (performance.now() - since) / 1000;
  expect(new Set(found.map((container) => container?.id)).size).toBe(5000);
  expect(found.every((container) => container?.state === 'REMOVED')).toBe(true);
  // Two looks each, the first and the one that finds it gone.
  expect(looks).toBeLessThanOrEqual(2 * 200 * (1 + seconds) + 2);
  // Those in the host's mounts are the host's.
  expect(await namespaces.resolve({ pid: NO_PID + 6000, start: 7 }, 1)).toBeNull();
});
