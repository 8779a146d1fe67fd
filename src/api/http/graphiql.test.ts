import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { buildSchema, parse, validate } from 'graphql';
import { describe, expect, it } from 'vitest';
import { root } from '../../base/paths.js';
import { firstOperations, renderGraphiql } from './graphiql.js';

interface Page {
  readonly sent: { readonly url: string; readonly authorization: string | null }[];
  readonly shown: string[];
  readonly stored: Map<string, string>;
  fetch(url: string, init?: { headers?: Record<string, string> }): void;
}

/** The page's own script, in a browser that records what it does. */
async function load(hash: string, stored = new Map<string, string>()): Promise<Page> {
  const script = /<script>([^]*?)<\/script>/.exec((await renderGraphiql()).html)?.[1];
  if (script === undefined) throw new Error('the page has no script of its own');
  const sent: Page['sent'] = [];
  const shown: string[] = [];
  const window = {
    fetch: (input: string, init: { headers?: Headers } = {}) =>
      void sent.push({ url: input, authorization: new Headers(init.headers).get('authorization') }),
  };
  runInNewContext(script, {
    window,
    location: {
      hash,
      pathname: '/graphql',
      search: '?a=b',
      href: `http://localhost:4000/graphql?a=b${hash}`,
      origin: 'http://localhost:4000',
    },
    history: { replaceState: (_state: unknown, _title: string, url: string) => shown.push(url) },
    sessionStorage: {
      getItem: (name: string) => stored.get(name) ?? null,
      setItem: (name: string, value: string) => stored.set(name, value),
    },
    URL,
    Headers,
    Request,
  });
  return { sent, shown, stored, fetch: (url, init) => window.fetch(url, init as never) };
}

describe('the page of GraphiQL', () => {
  it('signs in by the token in its fragment, which leaves the address and goes to this server only', async () => {
    const page = await load('#token=s3cret-_x');
    expect(page.shown).toEqual(['/graphql?a=b']);
    page.fetch('/graphql');
    page.fetch('http://localhost:4000/graphql', { headers: { authorization: 'Bearer other' } });
    page.fetch('https://example.org/x');
    expect(page.sent).toEqual([
      { url: '/graphql', authorization: 'Bearer s3cret-_x' },
      { url: 'http://localhost:4000/graphql', authorization: 'Bearer other' },
      { url: 'https://example.org/x', authorization: null },
    ]);
    const again = await load('', page.stored);
    again.fetch('/graphql');
    expect(again.sent).toEqual([{ url: '/graphql', authorization: 'Bearer s3cret-_x' }]);
  });

  it('without a token sends none', async () => {
    const page = await load('#tokens=x');
    page.fetch('/graphql');
    expect(page.sent).toEqual([{ url: '/graphql', authorization: null }]);
    expect(page.shown).toEqual([]);
  });

  it('opens with operations that are valid', () => {
    const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));
    expect(validate(schema, parse(firstOperations))).toEqual([]);
  });
});
