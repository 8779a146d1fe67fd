import { Lsp } from '@influxdata/flux-lsp-node';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseInput } from '../../filter/index.js';
import { toInput } from '../../../test/support/filter/written.js';
import { randomTree } from '../../../test/support/filter/tree.js';
import { catalog, fields } from '../../../test/support/influx.js';
import type { QueryText } from './influxql.js';
import { columnsOf, isKernelAggregate } from './column.js';
import { aggregateText, eventsText, recordsText } from './flux.js';
import { planAggregate, type AggregateQuestion, type HistoryMeasure } from './plan.js';

/**
 * InfluxData's own compiler for Flux, WebAssembly made of its Rust sources, says what is wrong with each text: syntax, names, arguments and
 * types. What it cannot show: what a server answers.
 */
class FluxCompiler {
  readonly #server = new Lsp();
  readonly #waiting = new Map<string, (problems: readonly string[]) => void>();
  readonly #ready: Promise<unknown>;
  #count = 0;

  constructor() {
    this.#server.onMessage((message: string) => this.#take(message));
    void this.#server.run();
    const initialize = { id: 0, method: 'initialize', params: { capabilities: {} } };
    this.#ready = this.#send(initialize).then(() => this.#send({ method: 'initialized', params: {} }));
  }

  async problemsOf(text: string): Promise<readonly string[]> {
    await this.#ready;
    const uri = `file:///${this.#count++}.flux`;
    const problems = new Promise<readonly string[]>((resolve) => this.#waiting.set(uri, resolve));
    await this.#send({
      method: 'textDocument/didOpen',
      params: { textDocument: { uri, languageId: 'flux', version: 1, text } },
    });
    const found = await problems;
    await this.#send({ method: 'textDocument/didClose', params: { textDocument: { uri } } });
    return found;
  }

  #send(message: object): Promise<unknown> {
    return this.#server.send(JSON.stringify({ jsonrpc: '2.0', ...message }));
  }

  #take(message: string): void {
    const { method, params } = JSON.parse(message) as {
      readonly method?: string;
      readonly params?: { readonly uri: string; readonly diagnostics: readonly { readonly message: string }[] };
    };
    if (method !== 'textDocument/publishDiagnostics' || !params) return;
    this.#waiting.get(params.uri)?.(params.diagnostics.map((one) => one.message));
    this.#waiting.delete(params.uri);
  }
}

const compiler = new FluxCompiler();
const range = {
  from: 1_700_000_000_000_000_000n,
  to: 1_700_000_060_000_000_000n,
  sessions: ['s1', 'a "quoted" ${one}'],
  filter: null,
};
const BUCKET = 'a "bucket" with ${} and \\';
const trackers = catalog.trackers.filter((tracker) => !isKernelAggregate(tracker));

async function expectValid(query: QueryText | null): Promise<void> {
  if (!query) throw new Error('there is no text');
  expect({ text: query.text, problems: await compiler.problemsOf(query.text) }).toEqual({
    text: query.text,
    problems: [],
  });
}

it('the compiler finds what is wrong', async () => {
  const problems = (text: string) => compiler.problemsOf(`from(bucket: "b") |> range(start: -1h) ${text}`);
  expect(await problems('|> limit(n: 5)')).toEqual([]);
  for (const wrong of [
    '|> limit(',
    '|> nothing()',
    '|> limit(m: 5)',
    '|> limit(n: "5")',
    '|> filter(fn: (r) => r["a"] + 1)',
  ])
    expect({ wrong, problems: await problems(wrong) }).not.toEqual({ wrong, problems: [] });
});

it.each(trackers.map(({ name }) => name))('asks for events of %s in Flux that compiles', async (name) => {
  const tracker = catalog.need(name);
  for (const backwards of [false, true])
    for (const places of [null, { from: 3, to: 9 }])
      await expectValid(eventsText(BUCKET, { ...range, tracker, places, backwards, limit: 100 }));
});

it('aggregates over trackers, by random filters, in Flux that compiles', async () => {
  const counted: HistoryMeasure = { fn: 'COUNT', field: null, name: 'n', q: 0.5, unit: null, time: false };
  await fc.assert(
    fc.asyncProperty(
      randomTree(fields),
      fc.uniqueArray(fc.constantFrom(...trackers), { minLength: 1, maxLength: 3 }),
      fc.constantFrom(null, 5_000),
      async (tree, some, windowMs) => {
        let filter;
        try {
          filter = parseInput(toInput(tree, fields), fields, fields.trackers);
        } catch {
          return; // some filters can match nothing, which is an error
        }
        const question = {
          ...range,
          filter,
          trackers: some,
          source: 'RAW' as const,
          groupBy: ['tracker', 'container.name'],
        };
        const plan = planAggregate({ ...question, measures: [counted], windowMs });
        const query = plan && aggregateText(BUCKET, plan);
        if (query) await expectValid(query);
      },
    ),
    { numRuns: 200 },
  );
});

it('asks for records in Flux that compiles', async () => {
  await expectValid(recordsText(BUCKET, 'eunomia.session', { ...range, sessions: null }, 10));
  await expectValid(recordsText(BUCKET, 'eunomia.gap', range, 10));
});

it.each(catalog.trackers.map(({ name }) => name))('aggregates events of %s in Flux that compiles', async (name) => {
  const tracker = catalog.need(name);
  const columns = columnsOf(tracker);
  const measured = columns.filter(({ kind }) => kind === 'integer' || kind === 'number').slice(0, 3);
  const measures = (fns: readonly HistoryMeasure['fn'][]): HistoryMeasure[] =>
    measured.flatMap(({ path }) =>
      fns.map((fn) => ({ fn, field: path, name: `${fn} of ${path}`, q: 0.99, unit: null, time: false })),
    );
  const ask = (own: Partial<AggregateQuestion>) =>
    expectValid(
      aggregateText(
        BUCKET,
        planAggregate({
          ...range,
          trackers: [tracker],
          source: 'ROLLUP',
          groupBy: [],
          measures: [],
          windowMs: null,
          ...own,
        }),
      ),
    );
  const groupBy = columns.filter(({ kind }) => kind === 'tag').map(({ path }) => path);
  await ask({ groupBy, measures: measures(['COUNT', 'SUM', 'AVG', 'MIN', 'MAX']), windowMs: 10_000 });
  if (isKernelAggregate(tracker)) return;
  await ask({
    source: 'RAW',
    groupBy,
    measures: measures(['COUNT', 'SUM', 'AVG', 'MIN', 'MAX', 'QUANTILE', 'DISTINCT']),
  });
  await ask({ source: 'RAW', windowMs: 1_000 });
});

it('says random filters in Flux that compiles', async () => {
  await fc.assert(
    fc.asyncProperty(randomTree(fields), fc.constantFrom(...trackers), async (tree, tracker) => {
      let filter;
      try {
        filter = parseInput(toInput(tree, fields), fields, fields.trackers);
      } catch (error) {
        expect(String(error)).toContain('no value is in the range');
        return;
      }
      const query = eventsText(BUCKET, { ...range, filter, tracker, places: null, backwards: false, limit: 10 });
      // A filter that nothing can match is not asked.
      if (query) await expectValid(query);
    }),
    { numRuns: 500 },
  );
});

it.each(['-9223372036854775808', '-9223372036854775807', '9223372036854775807'])(
  'says the integer %s in Flux that compiles',
  async (ret) => {
    const filter = parseInput({ syscall: { ret: { eq: ret } } }, fields, fields.trackers);
    const tracker = catalog.need('syscall');
    await expectValid(eventsText(BUCKET, { ...range, filter, tracker, places: null, backwards: false, limit: 10 }));
  },
);
