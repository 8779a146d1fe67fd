import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isStream } from '../../src/api/graphql/executor.js';
import type { ResponseStream } from '../../src/api/graphql/stream.js';
import { executeLocally } from '../../src/api/graphql/local.js';
import { until } from '../support/until.js';
import { callerOf, createFixture, type Fixture } from './support.js';

let fixture: Fixture;
let id: string;

beforeEach(async () => {
  fixture = await createFixture();
  const answer = await executeLocally(
    fixture.service,
    { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' },
    callerOf('admin'),
  );
  if (isStream(answer)) throw new Error('a stream');
  ({ id } = (answer.data as { startSession: { id: string } }).startSession);
});

afterEach(() => fixture.services.manager.close());

async function follow(every = '100ms', session = id): Promise<ResponseStream> {
  const query = `subscription { sessionStats(session: "${session}", every: "${every}") { received delivered retained } }`;
  const answer = await executeLocally(fixture.service, { query }, callerOf('viewer'));
  if (!isStream(answer)) throw new Error(JSON.stringify(answer));
  return answer;
}

async function next(stream: ResponseStream): Promise<Record<string, string> | null> {
  const { done, value } = await stream.next();
  if (done) return null;
  expect(value.errors).toBeUndefined();
  return (value.data as { sessionStats: Record<string, string> }).sessionStats;
}

describe('the counts of a session', () => {
  it('come at once, whenever they have changed, and as they are at its end', async () => {
    const stream = await follow();
    expect(await next(stream)).toEqual({ received: '0', delivered: '0', retained: '0' });
    fixture.kernel.emit(5);
    expect(await next(stream)).toEqual({ received: '5', delivered: '5', retained: '5' });
    const rest = next(stream);
    fixture.kernel.emit(2);
    await fixture.services.manager.stop(id);
    const told = [await rest];
    for (let more = await next(stream); more; more = await next(stream)) told.push(more);
    expect(told.at(-1)).toMatchObject({ received: '7', retained: '7' });
  });

  it('are not sent while nothing changes, however long the interval has passed, and end with their reader at once', async () => {
    const session = fixture.services.manager.get(id);
    let reads = 0;
    const stats = session?.stats.bind(session);
    if (!session || !stats) throw new Error('no session');
    session.stats = () => (reads++, stats());
    const stream = await follow();
    await next(stream);
    const waiting = next(stream);
    await until('it has looked again', () => reads >= 3);
    const before = reads;
    fixture.kernel.emit(1);
    expect(await waiting).toMatchObject({ received: '1' });
    const last = next(stream);
    await stream.return();
    expect(await last).toBeNull();
    expect(reads).toBeLessThanOrEqual(before + 3);
  });

  it('end at once with a reader that waits for a long interval', async () => {
    const stream = await follow('1h');
    await next(stream);
    const waiting = next(stream);
    await stream.return();
    expect(await waiting).toBeNull();
  });

  it('come once of a session that has ended', async () => {
    fixture.kernel.emit(3);
    await fixture.services.manager.stop(id);
    const stream = await follow('1h');
    expect(await next(stream)).toMatchObject({ received: '3' });
    expect(await next(stream)).toBeNull();
  });

  it.each(['1ms', '2h'])('do not come every %s', async (every) => {
    await expect(follow(every)).rejects.toThrow(/every: .*give \\"100ms\\" to \\"1h\\"/);
  });

  it('of no session are an error', async () => {
    await expect(follow('1s', 'nothing')).rejects.toThrow('UNKNOWN_SESSION');
  });
});
