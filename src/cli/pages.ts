import type { Client } from '../client/client.js';

/** A page of a connection, as its query names it `page`; with whatever else is selected of it. */
export interface ConnectionPage<Row> {
  readonly nodes: readonly Row[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

/** Entries of a page: many, and within what an operation may cost. */
const PAGE = 100;

/**
 * All rows of a connection, `most` at most, and its last page. The document has the connection as `page`, with its
 * `pageInfo { hasNextPage endCursor }`, and the variables `$first: Int` and `$after: Cursor`.
 */
export async function allRows<Row, Whole extends ConnectionPage<Row> = ConnectionPage<Row>>(
  client: Client,
  document: string,
  variables: Readonly<Record<string, unknown>>,
  { most = Number.POSITIVE_INFINITY, each = PAGE } = {},
): Promise<{ readonly rows: readonly Row[]; readonly last: Whole }> {
  const rows: Row[] = [];
  let after: string | null = null;
  for (;;) {
    const first = Math.min(each, most - rows.length);
    const { page }: { page: Whole } = await client.query<{ page: Whole }>(document, { ...variables, first, after });
    rows.push(...page.nodes);
    after = page.pageInfo.endCursor;
    if (!page.pageInfo.hasNextPage || rows.length >= most) return { rows, last: page };
  }
}
