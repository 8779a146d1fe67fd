// GraphiQL in the browser: scripts/setup/bundle.mjs makes one script and one style sheet of it, which graphiql.ts puts into a page.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createClient } from 'graphql-sse';
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';

const url = location.pathname;
const once = createGraphiQLFetcher({ url });

/** Subscriptions come as server-sent events. */
function fetcher(params, options) {
  const isAsked = ({ kind, operation, name }) =>
    kind === 'OperationDefinition' &&
    operation === 'subscription' &&
    (!params.operationName || name?.value === params.operationName);
  if (!options?.documentAST?.definitions.some(isAsked)) return once(params, options);
  // What it missed while it was away is not told here: it ends, and says why.
  return createClient({ url, headers: options.headers ?? {}, retryAttempts: 0 }).iterate(params);
}

/** Who came by no link with a token, and needs one, finds where to write it. */
async function headersTemplate() {
  const headers = { 'content-type': 'application/json' };
  const { status } = await fetch(url, { method: 'POST', headers, body: '{"query":"{ __typename }"}' });
  return status === 401 ? '{ "authorization": "Bearer TOKEN" }' : '';
}

const { defaultQuery } = JSON.parse(document.getElementById('options').textContent);
const defaultHeaders = await headersTemplate().catch(() => '');
// A link may bring an operation; the user runs it.
const link = new URLSearchParams(location.search);
const given = (name) => link.get(name) ?? undefined;
createRoot(document.getElementById('graphiql')).render(
  createElement(GraphiQL, {
    fetcher,
    query: given('query'),
    variables: given('variables'),
    defaultQuery,
    defaultHeaders,
    shouldPersistHeaders: false,
  }),
);
