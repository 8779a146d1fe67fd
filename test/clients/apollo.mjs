// Apollo Client with its normalising cache: node apollo.mjs URL SESSION OTHER_SESSION. Prints what it saw as JSON.
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client/core';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { relayStylePagination } from '@apollo/client/utilities';
import { createClient } from 'graphql-ws';
import { filter, firstValueFrom } from 'rxjs';
import { WebSocket } from 'ws';
import { introspected, possibleTypes, watchConsole } from './shared.mjs';

const [url, session, other] = process.argv.slice(2);
const complaints = watchConsole();
const sockets = createClient({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket });
const cache = new InMemoryCache({
  possibleTypes: possibleTypes(await introspected(url)),
  typePolicies: { Session: { fields: { events: relayStylePagination() } } },
});
const isSubscription = ({ operationType }) => operationType === 'subscription';
const client = new ApolloClient({
  cache,
  link: ApolloLink.split(isSubscription, new GraphQLWsLink(sockets), new HttpLink({ uri: url })),
});

const SUBSCRIBERS = gql`
  query Subscribers($id: ID!) {
    session(id: $id) {
      id
      state
      stats {
        subscribers {
          id
          delivered
        }
      }
    }
  }
`;
const PAGE = gql`
  query Page($id: ID!, $after: Cursor) {
    session(id: $id) {
      id
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
            ... on OpenEvent {
              path
              errno
            }
          }
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
  }
`;

// Pages are joined by the cache, and the pages of one session never by those of another.
const observable = client.watchQuery({ query: PAGE, variables: { id: session } });
let { data } = await firstValueFrom(observable.pipe(filter(({ dataState }) => dataState === 'complete')));
for (;;) {
  const { hasNextPage, endCursor } = data.session.events.pageInfo;
  if (!hasNextPage) break;
  await observable.fetchMore({ variables: { after: endCursor } });
  data = observable.getCurrentResult().data;
}
const paths = data.session.events.edges.map(({ node }) => node.path);
const ids = new Set(data.session.events.edges.map(({ node }) => node.id));

// One event, asked for by its id, is the one that the pages have.
const [{ node: first }] = data.session.events.edges;
const NODE = gql`
  query Node($id: ID!) {
    node(id: $id) {
      id
      ... on OpenEvent {
        path
      }
    }
  }
`;
const found = await client.query({ query: NODE, variables: { id: first.id }, fetchPolicy: 'network-only' });

// Live events land in the same cache. Subscribers of two sessions are two objects there.
const LIVE = gql`
  subscription Live($id: ID!) {
    events(session: $id, replay: 5) {
      events {
        id
        ... on OpenEvent {
          path
        }
      }
      cursor
    }
  }
`;
const live = await new Promise((resolve, reject) => {
  const reading = client.subscribe({ query: LIVE, variables: { id: session } }).subscribe({
    next: (result) => {
      reading.unsubscribe();
      resolve(result.data.events.events);
    },
    error: reject,
  });
});
const opened = [session, other].map((id) =>
  client.subscribe({ query: LIVE, variables: { id } }).subscribe({ error: () => {} }),
);
const subscribers = [];
for (const id of [session, other])
  for (;;) {
    const result = await client.query({ query: SUBSCRIBERS, variables: { id }, fetchPolicy: 'network-only' });
    const list = result.data.session.stats.subscribers;
    if (list.length === 1) {
      subscribers.push(list[0].id);
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
for (const one of opened) one.unsubscribe();
const cached = Object.keys(cache.extract());
await sockets.dispose();
client.stop();

process.stdout.write(
  JSON.stringify({
    complaints,
    paths,
    distinct: ids.size,
    node: found.data.node.path === first.path,
    liveInCache: live.every(({ id, __typename }) => cached.includes(`${__typename}:${id}`)),
    live: live.length,
    subscribers: new Set(subscribers).size,
    sessionsInCache: cached.filter((key) => key.startsWith('Session:')).length,
  }),
);
process.exit(0);
