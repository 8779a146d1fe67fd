import fc from 'fast-check';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { influxqlName, influxqlRegex, influxqlText, matchingPattern } from '../../src/storage/influx/quote.js';
import { storedText } from '../../src/storage/influx/line.js';
import { hostileText } from '../support/hostile.js';
import { influx1, type Database } from '../support/influx.js';
import { startServer, type TestServer } from '../support/server.js';
import { scratch } from '../support/workload.js';

/** What a client writes never becomes a statement: against a real InfluxDB 1.6. */
let database: Database;

beforeAll(async () => {
  database = await (await influx1('influx-injection')).up();
});
afterAll(() => database.kill());

interface Result {
  readonly error?: string;
  readonly series?: readonly { readonly values: readonly (readonly unknown[])[] }[];
}

/** Each statement's result, as the database numbers them. */
async function ask(q: string, method = 'POST'): Promise<readonly Result[]> {
  const body = new URLSearchParams({ db: 'victim', q });
  const response = await fetch(
    `${database.url}/query${method === 'GET' ? `?${body.toString()}` : ''}`,
    method === 'GET' ? {} : { method, body },
  );
  const { results, error } = (await response.json()) as { results?: readonly Result[]; error?: string };
  return results ?? [{ error: error ?? `HTTP ${response.status}` }];
}

const databases = async (): Promise<unknown[]> =>
  (await ask('SHOW DATABASES'))[0]?.series?.[0]?.values.map(([name]) => name) ?? [];

describe('a viewer of the history', () => {
  let server: TestServer;

  it('cannot drop a database with a regular expression that ends in a backslash', async () => {
    // Without the database of the first statement, no other would be executed.
    await ask('CREATE DATABASE "eunomia"');
    await ask('CREATE DATABASE "victim"');
    expect(await databases()).toContain('victim');
    mkdirSync(scratch, { recursive: true });
    const tokens = join(scratch, 'injection-tokens');
    writeFileSync(tokens, 'operator:let-me-in-please\nviewer:just-look-at-this\n', { mode: 0o600 });
    server = await startServer(
      [
        '--engine',
        'none',
        '--influx-url',
        database.url,
        '--influx-spool',
        join(scratch, 'injection-spool'),
        '--tokens-file',
        tokens,
      ],
      { token: 'just-look-at-this' },
    );
    const document =
      'query ($where: EventFilter) { history(store: INFLUX, trackers: ["exec"], where: $where) { events(first: 1) { nodes { time } } } }';
    for (const pattern of ['\\Qx\\', '\\Q\\', 'x|\\Qy\\']) {
      for (let depth = 0; depth < 5; depth++) {
        const text = `/${')'.repeat(depth)}; DROP DATABASE victim --`;
        for (const where of [
          { exec: { filename: { regex: pattern }, cwd: { eq: text } } },
          // Expensive conditions are evaluated last: this one puts the text behind the expression.
          {
            and: [
              { exec: { filename: { regex: pattern } } },
              { or: [{ exec: { cwd: { eq: text } } }, { exec: { executable: { regex: 'z.z' } } }] },
            ],
          },
          {
            and: [
              { container: { name: { regex: pattern } } },
              { or: [{ exec: { cwd: { eq: text } } }, { exec: { executable: { regex: 'z.z' } } }] },
            ],
          },
          {
            or: [
              { exec: { filename: { regex: pattern } } },
              { exec: { cwd: { eq: text }, executable: { regex: 'z.z' } } },
            ],
          },
        ]) {
          await server.query(document, { where }).catch(() => undefined);
        }
      }
    }
    expect(await databases()).toContain('victim');
  });
});

describe('a text in InfluxQL', () => {
  beforeAll(() => ask('CREATE DATABASE "victim"'));

  /** The database says how many results there are: one for each statement. */
  const statements = async (condition: string): Promise<readonly Result[]> =>
    ask(`SELECT * FROM "points" WHERE ${condition}`);

  it('is one value of one statement, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(hostileText, async (text) => {
        const quoted = influxqlText(text);
        if (quoted === null) return;
        expect(await statements(`(("a" = ${quoted}) AND "b" = 'x')`)).toEqual([{ statement_id: 0 }]);
        expect(await statements(`(("a" != ${quoted}) OR ${influxqlName(text)} = ${quoted})`)).toEqual([
          { statement_id: 0 },
        ]);
      }),
      { numRuns: 300 },
    );
    expect(await databases()).toContain('victim');
  });

  it('is one pattern of one statement, and matches itself and what holds it, nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(hostileText, async (text) => {
        const stored = storedText(text.replace(/\p{Surrogate}/gu, '?'));
        const pattern = matchingPattern({ fromStart: false, toEnd: true, parts: [stored] });
        expect(pattern).not.toBeNull();
        if (pattern === null || stored.length > 5000) return;
        const value = stored.replace(/["\\]/g, '\\$&');
        await fetch(`${database.url}/write?db=victim`, {
          method: 'POST',
          body: `held v="before${value}" 1\nheld v="before${value}x" 2\nheld v="other" 3`,
        });
        const [found, ...more] = await ask(`SELECT "v" FROM "held" WHERE "v" =~ ${influxqlRegex(pattern)}`);
        expect(more).toEqual([]);
        const values = found?.series?.[0]?.values.map(([, v]) => v) ?? [];
        expect(values).toEqual([`before${stored}`, `before${stored}x`, 'other'].filter((v) => v.endsWith(stored)));
      }),
      { numRuns: 200 },
    );
    expect(await databases()).toContain('victim');
  });
});
