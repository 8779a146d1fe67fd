import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { expect, it } from 'vitest';
import { nobody as world } from '../../../test/support/program.js';
import { until } from '../../../test/support/until.js';
import { EunomiaError } from '../../base/errors.js';
import { createLocalClient } from '../../client/client.js';
import { createProgram, runProgram } from '../program.js';
import { answerOf, MOST_CHARACTERS } from './answer.js';
import { checkArguments } from './argument.js';
import { toolsOf } from './mcp.js';
import { schemaTools } from './schema-tool.js';
import { toolServer } from './server.js';
import type { Tool } from './tool.js';

const tools = toolsOf({ server: 'http://127.0.0.1:9', token: 'hush', logLevel: 'warn', allowChanges: true }, world, {
  version: '1',
  create: (own) => createProgram('1', own),
  run: (argv, own) => runProgram(argv, '1', own),
});
function toolNamed(name: string): Tool {
  const tool = tools.find((each) => each.name === name);
  if (!tool) throw new RangeError(`no tool ${name}`);
  return tool;
}

it.each([
  ['trace', { tracker: ['exec'], wher: 'true' }, 'trace has no argument "wher"; did you mean "where"?'],
  ['trace', { tracker: ['exec'], server: 'http://other' }, 'trace has no argument "server"'],
  ['trace', { tracker: ['exec'], ['constructor']: 'x' }, 'trace has no argument "constructor"'],
  ['status', { x: 1 }, 'status has no argument "x"; it has none'],
  ['trace', {}, "trace: missing required argument 'tracker'"],
  ['trace', { tracker: [] }, "trace: missing required argument 'tracker'"],
  ['trace', { tracker: ['exec', ['open']] }, 'trace: "tracker" is to be a list of texts, not ["exec",["open"]]'],
  ['trace', { tracker: { name: 'exec' } }, 'trace: "tracker" is to be a list of texts, not {"name":"exec"}'],
  ['trace', { tracker: ['exec'], for: ['1s', '1h'] }, 'trace: "for" is to be a text, not ["1s","1h"]'],
  ['trace', { tracker: ['exec'], where: { expr: 'x' } }, 'trace: "where" is to be a text, not {"expr":"x"}'],
  ['trace', { tracker: ['exec'], where: true }, 'trace: "where" is to be a text, not true'],
  ['trace', { tracker: ['exec'], wait: 'yes' }, 'trace: "wait" is to be true or false, not "yes"'],
  ['trace', { tracker: ['exec'], wait: 1 }, 'trace: "wait" is to be true or false, not 1'],
  ['alert', { alert: ['a', 'b'] }, 'alert: "alert" is to be a text, not ["a","b"]'],
  ['graphql', { query: 7, variables: '{}' }, 'graphql: "variables" is to be an object, not "{}"'],
  ['graphql', { variables: {} }, "graphql: missing required argument 'query'"],
])('%s refuses %j', (name, args, message) => {
  expect(() => checkArguments(toolNamed(name), args)).toThrow(message);
});

it('history is of the last day unless the agent says otherwise', async () => {
  const history = toolNamed('history');
  expect(history.inputSchema.properties).toMatchObject({
    from: { description: expect.stringContaining('(default: 24h)') as string },
  });
  // All that is wrong with it is that nobody listens there.
  const { text } = await history.call({}, new AbortController().signal);
  expect(text).toContain('no response from http://127.0.0.1:9');
});

it('takes numbers for texts, a text for a list of one, and null for nothing', () => {
  const args = { tracker: 'exec', limit: 5, wait: 'false', where: null };
  expect(checkArguments(toolNamed('trace'), args)).toEqual({ tracker: 'exec', limit: 5, wait: 'false' });
});

it('says what was wrong with an argument of a mebibyte in a hundred characters', () => {
  const long = 'x'.repeat(1 << 20);
  for (const args of [{ [long]: 1 }, { tracker: [[long]] }, { tracker: [1], wait: long }])
    try {
      checkArguments(toolNamed('start_session'), args);
      expect.unreachable();
    } catch (error) {
      expect((error as Error).message.length).toBeLessThan(600);
    }
});

it('has answers of so many characters at most, of which the last say what was lost', () => {
  const lost = '7 events, 0 lost, 3 dropped';
  const gaps = Array.from({ length: 10_000 }, (_, i) => `gap: ${i} lost in the kernel`);
  for (const printed of ['', 'one line\n', 'x'.repeat(MOST_CHARACTERS + 1), 'x'.repeat(1 << 20)])
    for (const told of [[], [lost], [...gaps, lost], ['y'.repeat(1 << 20), lost]]) {
      const answer = answerOf(printed, told);
      expect(answer.length).toBeLessThanOrEqual(MOST_CHARACTERS);
      expect(answer.includes('(cut after')).toBe(printed.length > MOST_CHARACTERS);
      if (told.length > 0) expect(answer.endsWith(lost)).toBe(true);
      expect(answerOf(answer)).toBe(answer);
    }
  expect(answerOf('', [...gaps, lost])).toMatch(/^\(9\d{3} lines before\)\ngap: /);
});

it('asks for the schema again where the server was away', async () => {
  let asked = 0;
  const [schema] = schemaTools((work) => {
    asked++;
    const away = (): never => {
      throw new EunomiaError('UNREACHABLE', 'away');
    };
    return work(createLocalClient({ execute: async () => away(), download: away, close: async () => undefined }));
  }, false);
  for (let i = 0; i < 2; i++) await expect(schema?.call({}, world.signal)).rejects.toThrow('away');
  expect(asked).toBe(2);
});

it('runs a few calls at once, and waits at its end for those that it cancels', async () => {
  let running = 0;
  let most = 0;
  let cancelled = 0;
  const slow: Tool = {
    ...toolNamed('status'),
    name: 'slow',
    async call(_args, signal) {
      most = Math.max(most, ++running);
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await new Promise((resolve) => setTimeout(resolve, 20));
      running--;
      cancelled++;
      return { text: 'cancelled', isError: false };
    },
  };
  const server = toolServer([slow], '1');
  const [near, far] = InMemoryTransport.createLinkedPair();
  await server.connect(far);
  const client = new Client({ name: 'a test', version: '1' });
  await client.connect(near);
  const calls = Array.from({ length: 20 }, () => client.callTool({ name: 'slow' }).catch(() => undefined));
  await until('some run', () => running === 8);
  await server.close();
  await server.closed;
  expect({ running, most, cancelled }).toEqual({ running: 0, most: 8, cancelled: 8 });
  await Promise.all(calls);
});

it('tells a client that asks for it that a call goes on', async () => {
  const given = new AbortController();
  const slow: Tool = {
    ...toolNamed('status'),
    name: 'slow',
    async call() {
      await new Promise((resolve) => given.signal.addEventListener('abort', resolve));
      return { text: 'done', isError: false };
    },
  };
  const server = toolServer([slow], '1', 10);
  const [near, far] = InMemoryTransport.createLinkedPair();
  await server.connect(far);
  const asking = new Client({ name: 'a test', version: '1' });
  await asking.connect(near);
  const seen: number[] = [];
  const called = asking.callTool({ name: 'slow' }, undefined, { onprogress: ({ progress }) => seen.push(progress) });
  await until('it is told', () => seen.length > 2);
  given.abort();
  await called;
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  await server.close();
});
