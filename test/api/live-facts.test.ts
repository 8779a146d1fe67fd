import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isStream } from '../../src/api/graphql/executor.js';
import { executeLocally } from '../../src/api/graphql/local.js';
import type { ResponseStream } from '../../src/api/graphql/stream.js';
import { callerOf, createFixture, type Fixture } from './support.js';

let fixture: Fixture;
beforeEach(async () => void (fixture = await createFixture()));
afterEach(() => fixture.services.manager.close());

async function follow(query: string): Promise<ResponseStream> {
  const answer = await executeLocally(fixture.service, { query }, callerOf('viewer'));
  if (!isStream(answer)) throw new Error(JSON.stringify(answer));
  return answer;
}

async function next(stream: ResponseStream): Promise<unknown> {
  const { done, value } = await stream.next();
  if (done) return null;
  expect(value.errors).toBeUndefined();
  return value.data;
}

describe('containers, live', () => {
  it('are sent as they are, and the stream ends with the server', async () => {
    const known = fixture.services.registry.list();
    expect(known.length).toBeGreaterThan(0);
    const stream = await follow('subscription { containerChanged { kind before container { id state } } }');
    const [first] = known;
    expect(await next(stream)).toEqual({
      containerChanged: { kind: 'LISTED', before: null, container: { id: first?.id, state: first?.state } },
    });
    const rest = next(stream);
    await fixture.service.end();
    expect(await rest).toBeNull();
    expect(await next(await follow('subscription { containerChanged { kind } }'))).toEqual({
      containerChanged: { kind: 'LISTED' },
    });
  });

  it.each([
    ['{ any: [] }', 'where.any: is empty'],
    ['{ states: [] }', 'where.states: is empty'],
  ])('are not sent for the filter %s', async (where, message) => {
    const answer = await executeLocally(
      fixture.service,
      { query: `subscription { containerChanged(where: ${where}) { kind } }` },
      callerOf('viewer'),
    );
    if (isStream(answer)) throw new Error('a stream');
    expect(answer.errors?.[0]?.message).toContain(message);
  });
});

describe('the server, live', () => {
  it('is sent at once, when its health changes, and at its end', async () => {
    const stream = await follow('subscription { serverChanged { healthy problem runningSessions } }');
    expect(await next(stream)).toMatchObject({ serverChanged: { healthy: true, problem: null } });
    const changed = next(stream);
    const { server } = fixture.services;
    server.health = () => ({ healthy: false, problem: 'the kernel thread has ended', dead: true });
    expect(await changed).toEqual({
      serverChanged: { healthy: false, problem: 'the kernel thread has ended', runningSessions: 0 },
    });
    const last = next(stream);
    await fixture.service.end();
    expect(await last).toBeNull();
  });
});
