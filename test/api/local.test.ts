import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream, type OperationResult } from '../../src/api/graphql/executor.js';
import { callerOf, createFixture, startedId, type Fixture } from './support.js';
import { until } from '../support/until.js';

let fixture: Fixture;

beforeEach(async () => {
  fixture = await createFixture();
});

afterEach(() => fixture.services.manager.close());

function dataOf(answer: OperationResult): Record<string, unknown> | null | undefined {
  if (isStream(answer)) throw new Error('a stream');
  return answer.data;
}

describe('in process', () => {
  it('returns queries and mutations, and streams subscriptions', async () => {
    const started = dataOf(
      await executeLocally(
        fixture.service,
        { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' },
        callerOf('operator'),
      ),
    );
    const id = startedId({ json: { data: started } });
    const stream = await executeLocally(
      fixture.service,
      { query: 'subscription ($id: ID!) { events(session: $id) { events { bootNs } } }', variables: { id } },
      callerOf('operator'),
    );
    if (!isStream(stream)) throw new Error('no stream');
    fixture.kernel.emit(2);
    expect((await stream.next()).value).toEqual({ data: { events: { events: [{ bootNs: '0' }, { bootNs: '1' }] } } });
    const waiting = stream.next();
    await stream.return();
    expect(await waiting).toEqual({ done: true, value: undefined });
    const session = fixture.services.manager.get(id);
    expect((await session?.stats())?.subscribers).toEqual([]);
  });

  it('keeps a viewer from acting, and returns errors instead of rejecting', async () => {
    const answer = await executeLocally(
      fixture.service,
      { query: 'mutation { removeSession(id: "x") }' },
      callerOf('viewer'),
    );
    expect(answer).toMatchObject({ errors: [{ extensions: { code: 'FORBIDDEN' } }] });
    expect(await executeLocally(fixture.service, { query: '{' }, callerOf('operator'))).toMatchObject({
      errors: [{ extensions: { code: 'GRAPHQL_PARSE_FAILED' } }],
    });
    expect(
      await executeLocally(
        fixture.service,
        { query: 'query A { server { version } } query B { server { version } }' },
        callerOf('operator'),
      ),
    ).toMatchObject({ errors: [{ message: expect.stringContaining('name one in `operationName`: A, B') }] });
  });

  it('ends a trace when the caller aborts it', async () => {
    const controller = new AbortController();
    const trace = executeLocally(
      fixture.service,
      { query: 'mutation { trace(input: { trackers: [{ exec: {} }] }, for: "60s") { stopReason } }' },
      callerOf('operator', controller.signal),
    );
    await until('the trace runs', () => fixture.services.manager.list()[0]?.state === 'RUNNING');
    controller.abort();
    expect(dataOf(await trace)).toEqual({ trace: { stopReason: 'ABANDONED' } });
  });
});
