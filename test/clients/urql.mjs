// urql with its normalising cache, which knows the schema: node urql.mjs URL SESSION. Prints what it saw as JSON.
import { Client, fetchExchange, gql, subscriptionExchange } from '@urql/core';
import { cacheExchange } from '@urql/exchange-graphcache';
import { relayPagination } from '@urql/exchange-graphcache/extras';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { embedded, introspected, watchConsole } from './shared.mjs';

const [url, session] = process.argv.slice(2);
const complaints = watchConsole();
const schema = await introspected(url);
const sockets = createClient({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket });
const client = new Client({
  url,
  preferGetMethod: false,
  exchanges: [
    cacheExchange({
      schema,
      keys: Object.fromEntries(embedded(schema).map((name) => [name, () => null])),
      resolvers: { Session: { events: relayPagination() } },
    }),
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: sockets.subscribe({ query: query ?? '', variables }, sink) }),
      }),
    }),
  ],
});

const PAGE = gql`
  query Page($id: ID!, $after: Cursor) {
    session(id: $id) {
      id
      state
      spec {
        trackers {
          name
        }
      }
      stats {
        delivered
        retained
      }
      events(first: 40, after: $after) {
        edges {
          cursor
          node {
            id
            time
            process {
              pid
              comm
            }
            container {
              id
              name
            }
            ... on OpenEvent {
              path
              errno
              flags
            }
          }
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
    server {
      version
      node {
        id
        name
      }
    }
    trackers {
      name
      summary
    }
  }
`;
let result = await client.query(PAGE, { id: session }).toPromise();
while (result.data?.session.events.pageInfo.hasNextPage)
  result = await client.query(PAGE, { id: session, after: result.data.session.events.pageInfo.endCursor }).toPromise();
if (result.error) throw result.error;
const paths = result.data.session.events.edges.map(({ node }) => node.path);

// All of it is in the cache: without asking again.
const again = client.readQuery(PAGE, { id: session });

const LIVE = gql`
  subscription Live($id: ID!) {
    events(session: $id, replay: 5) {
      events {
        id
        time
        ... on OpenEvent {
          path
        }
      }
      cursor
    }
  }
`;
const live = await new Promise((resolve, reject) => {
  const reading = client.subscription(LIVE, { id: session }).subscribe(({ data, error }) => {
    if (error) reject(error);
    else resolve(data.events.events.length);
    queueMicrotask(() => reading.unsubscribe());
  });
});
await sockets.dispose();
process.stdout.write(
  JSON.stringify({ complaints, paths, cached: again?.data?.session.events.edges.length ?? null, live }),
);
process.exit(0);
