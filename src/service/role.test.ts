import { describe, expect, it } from 'vitest';
import { callerOf, createFixture } from '../../test/api/support.js';

const { service, services } = await createFixture();
const input = { trackers: [{ exec: {} }] };

// No document, so that nothing but the use case can refuse.
describe('a use case', () => {
  const viewer = callerOf('viewer');
  const operator = callerOf('operator');
  const refused = { code: 'FORBIDDEN' };

  it.each([
    ['starting', async () => service.sessions.start(viewer, input)],
    ['tracing', async () => service.sessions.trace(viewer, { input, capture: null, selects: () => new Map() })],
    ['stopping', async () => service.sessions.stop(viewer, 'x')],
    ['removing', async () => service.sessions.remove(viewer, 'x')],
    ['attaching', async () => service.plugins.attach(viewer, 'x', { name: 'p', options: null, restart: 'NEVER' })],
    ['detaching', async () => service.plugins.detach(viewer, 'x', 'p')],
    ['loading', async () => service.plugins.load(operator, { file: 'p.js', source: '', replace: false })],
    ['reloading', async () => service.plugins.reload(operator, 'p')],
    ['unloading', async () => service.plugins.unload(operator, 'p')],
  ])('refuses a caller whose role does not include %s', async (_what, act) => {
    await expect(act()).rejects.toMatchObject(refused);
    expect(services.manager.list()).toEqual([]);
  });

  it('lets a viewer read, in memory and live', async () => {
    const { id } = await service.sessions.start(operator, input);
    const session = await service.sessions.need(viewer, id);
    expect(await session.page({ where: null })).toMatchObject({ events: [], total: 0 });
    expect((await service.sessions.list(viewer)).map((each) => each.id)).toEqual([id]);
    await service.sessions.remove(operator, id);
    expect(await service.sessions.find(viewer, id)).toBeNull();
  });
});
