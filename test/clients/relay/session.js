// What a Relay application declares: relay-compiler checks it against the schema, and makes the queries of its pages.
import { graphql } from 'relay-runtime';

export const page = graphql`
  query sessionQuery($id: ID!) {
    session(id: $id) {
      ...session_events
    }
  }
`;

export const events = graphql`
  fragment session_events on Session
  @refetchable(queryName: "sessionEventsQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 40 }, after: { type: "Cursor" }) {
    state
    spec {
      trackers {
        name
      }
    }
    events(first: $count, after: $after) @connection(key: "session_events") {
      edges {
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
    }
  }
`;

export const live = graphql`
  subscription sessionSubscription($id: ID!, $after: Cursor) {
    events(session: $id, after: $after) {
      cursor
      gap {
        lost
        dropped
      }
      events {
        id
        ... on OpenEvent {
          path
        }
      }
    }
  }
`;

export const stop = graphql`
  mutation sessionStopMutation($id: ID!) {
    stopSession(id: $id) {
      id
      state
    }
  }
`;
