// Apollo Client and urql with automatic persisted queries: node persisted.mjs URL. Prints what each got and sent as JSON.
import { createHash } from 'node:crypto';
import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client/core';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { Client, fetchExchange } from '@urql/core';
import { persistedExchange } from '@urql/exchange-persisted';
import { watchConsole } from './shared.mjs';

const [url] = process.argv.slice(2);
const complaints = watchConsole();
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** Each request, by what it has of a document. */
function recording() {
  const sent = [];
  const send = (input, init = {}) => {
    const parameters =
      init.method === 'GET' ? Object.fromEntries(new URL(input).searchParams) : JSON.parse(String(init.body ?? '{}'));
    sent.push(`${init.method ?? 'GET'} ${parameters.query ? 'text' : 'hash'}`);
    return fetch(input, init);
  };
  return { sent, send };
}

async function apollo(useGETForHashedQueries) {
  const { sent, send } = recording();
  const client = new ApolloClient({
    cache: new InMemoryCache(),
    link: ApolloLink.from([
      new PersistedQueryLink({ sha256, useGETForHashedQueries }),
      new HttpLink({ uri: url, fetch: send, headers: { 'x-eunomia': '1' } }),
    ]),
  });
  const query = gql(`query Apollo${useGETForHashedQueries ? 'Get' : 'Post'} { server { version node { name } } }`);
  const versions = [];
  for (let i = 0; i < 3; i++) {
    const { data } = await client.query({ query, fetchPolicy: 'network-only' });
    versions.push(data.server.version);
  }
  client.stop();
  return { versions, sent };
}

async function urql(preferGetForPersistedQueries) {
  const { sent, send } = recording();
  const client = new Client({
    url,
    preferGetMethod: false,
    fetch: send,
    fetchOptions: { headers: { 'x-eunomia': '1' } },
    exchanges: [
      persistedExchange({ preferGetForPersistedQueries, generateHash: async (text) => sha256(text) }),
      fetchExchange,
    ],
  });
  const query = `query Urql${preferGetForPersistedQueries ? 'Get' : 'Post'} { server { version node { name } } }`;
  const versions = [];
  for (let i = 0; i < 3; i++) {
    const { data, error } = await client.query(query, {}, { requestPolicy: 'network-only' }).toPromise();
    if (error) throw error;
    versions.push(data.server.version);
  }
  return { versions, sent };
}

const results = {
  apollo: await apollo(false),
  apolloGet: await apollo(true),
  urql: await urql(false),
  urqlGet: await urql('force'),
};
process.stdout.write(JSON.stringify({ complaints, ...results }));
process.exit(0);
