// A compiled client: what its queries return is typed by the client preset. `npx tsc` of it is the test.
import { graphql } from './made/gql';
import type { ResultOf, VariablesOf } from '@graphql-typed-document-node/core';

const Page = graphql(`
  query Page($id: ID!, $after: Cursor) {
    session(id: $id) {
      id
      state
      stats {
        delivered
      }
      events(first: 40, after: $after) {
        edges {
          cursor
          node {
            __typename
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
          endCursor
        }
      }
    }
  }
`);

const Start = graphql(`
  mutation Start($input: StartSessionInput!) {
    startSession(input: $input) {
      id
    }
  }
`);

export function pathsOf(page: ResultOf<typeof Page>): readonly string[] {
  const edges = page.session?.events?.edges ?? [];
  return edges.flatMap(({ node }) => (node.__typename === 'OpenEvent' && node.path != null ? [node.path] : []));
}

export const input: VariablesOf<typeof Start> = { input: { trackers: [{ open: { failedOnly: true } }], for: '10s' } };

// @ts-expect-error -- a tracker has no such option
export const wrong: VariablesOf<typeof Start> = { input: { trackers: [{ open: { nothing: true } }] } };

// @ts-expect-error -- a count is a decimal string: it may be beyond what a number holds
export const count = (page: ResultOf<typeof Page>): number | undefined => page.session?.stats.delivered;
