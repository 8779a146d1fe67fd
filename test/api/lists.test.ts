import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { callerOf, createFixture, type Fixture } from './support.js';

let fixture: Fixture;
beforeEach(async () => {
  fixture = await createFixture({});
});
afterEach(() => fixture.services.manager.close());

async function execute(query: string, variables = {}) {
  const result = await executeLocally(fixture.service, { query, variables }, callerOf('admin'));
  if (isStream(result)) throw new Error('a stream');
  return result;
}

interface Page {
  readonly totalCount: string;
  readonly edges: readonly { readonly cursor: string; readonly node: { readonly id: string } }[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}

async function pageOf(list: string, args: Record<string, unknown> = {}): Promise<Page> {
  const { data, errors } = await execute(
    `query ($first: Int, $last: Int, $after: Cursor, $before: Cursor) {
      ${list}(first: $first, last: $last, after: $after, before: $before) {
        totalCount edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`,
    { first: null, ...args },
  );
  expect(errors).toBeUndefined();
  return data?.[list] as Page;
}

const idsOf = ({ edges }: Page) => edges.map(({ node }) => node.id);

async function start(): Promise<string> {
  const { data } = await execute('mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }');
  const session = data?.['startSession'] as { id: string } | null | undefined;
  if (!session) throw new Error('no session');
  return session.id;
}

describe('the list of sessions', () => {
  it('has the same sessions in pages of any size, forwards and backwards', async () => {
    const started = new Set(await Promise.all(Array.from({ length: 12 }, start)));
    const all = idsOf(await pageOf('sessions'));
    expect(new Set(all)).toEqual(started);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 14 }), fc.boolean(), async (size, backwards) => {
        let found: string[] = [];
        let page: Page | null = null;
        do {
          const { startCursor, endCursor }: Partial<Page['pageInfo']> = page?.pageInfo ?? {};
          page = await pageOf(
            'sessions',
            backwards ? { last: size, before: startCursor } : { first: size, after: endCursor },
          );
          found = backwards ? [...idsOf(page), ...found] : [...found, ...idsOf(page)];
          expect(page.totalCount).toBe('12');
        } while (backwards ? page.pageInfo.hasPreviousPage : page.pageInfo.hasNextPage);
        expect(found).toEqual(all);
      }),
      { numRuns: 30 },
    );
  });

  it('goes on where it was when sessions have gone, also the one of the cursor, and others have come', async () => {
    for (let i = 0; i < 6; i++) await start();
    const all = idsOf(await pageOf('sessions'));
    const { pageInfo } = await pageOf('sessions', { first: 3 });
    for (const id of all.slice(1, 4)) await execute('mutation ($id: ID!) { removeSession(id: $id) }', { id });
    const late = await start();
    const rest = await pageOf('sessions', { first: 10, after: pageInfo.endCursor });
    expect(idsOf(rest)).toEqual([...all.slice(4), late]);
    expect(rest.totalCount).toBe('4');
  });

  it('refuses what is no cursor of it, and sizes that cannot be', async () => {
    const refused = async (query: string) => (await execute(query)).errors?.[0]?.extensions['code'];
    const { pageInfo } = await pageOf('containers');
    expect(await refused(`{ sessions(after: "${pageInfo.endCursor}") { totalCount } }`)).toBe('BAD_CURSOR');
    expect(await refused('{ sessions(after: "nonsense") { totalCount } }')).toBe('BAD_CURSOR');
    expect(await refused('{ sessions(first: 0) { totalCount } }')).toBe('BAD_USER_INPUT');
    expect(await refused('{ sessions(first: 1, last: 1) { totalCount } }')).toBe('BAD_USER_INPUT');
  });
});

it('the list of containers has pages', async () => {
  const page = await pageOf('containers', { first: 1 });
  expect(page).toMatchObject({ totalCount: '1', pageInfo: { hasNextPage: false, hasPreviousPage: false } });
  expect((await pageOf('containers', { after: page.pageInfo.endCursor })).edges).toEqual([]);
});
