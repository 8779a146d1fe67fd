import { expect, it } from 'vitest';
import { createLog } from '../../base/log.js';
import { ContainerRegistry } from '../../inventory/registry.js';
import { ServerMetrics } from './server.js';

it('does not wait for a tracker that takes long to try, and tells what changes', async () => {
  const asked: string[] = [];
  let tcp = false;
  let end = (_available: boolean): void => {};
  const metrics = new ServerMetrics({
    version: '1',
    kernelRelease: '6.1.0',
    registry: new ContainerRegistry({ log: createLog('silent'), sources: [] }),
    healthy: () => true,
    engineConnected: () => true,
    trackers: ['exec', 'slow', 'tcp'],
    isAvailable: async (tracker) => {
      asked.push(tracker);
      return tracker === 'slow' ? new Promise<boolean>((resolve) => (end = resolve)) : tracker === 'exec' || tcp;
    },
    maxContainers: 10,
    processTable: () => null,
  });
  const scrape = async (): Promise<unknown> => {
    const families = await metrics.metrics();
    expect(families.map(({ name }) => name)).toContain('eunomia_build_info');
    const family = families.find(({ name }) => name === 'eunomia_tracker_available');
    return family?.samples.map((sample) => [sample.labels['tracker'], 'value' in sample ? sample.value : null]);
  };
  const known = [
    ['exec', 1],
    ['tcp', 0],
  ];
  expect(asked).toEqual([]);
  expect(await scrape()).toEqual(known);
  expect(await scrape()).toEqual(known);
  expect(asked.filter((tracker) => tracker === 'slow')).toHaveLength(1);
  end(true);
  tcp = true;
  const all = [
    ['exec', 1],
    ['tcp', 1],
    ['slow', 1],
  ];
  expect(await scrape()).toEqual(all);
});
