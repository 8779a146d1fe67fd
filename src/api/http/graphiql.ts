import { renderGraphiQL as renderFromNetwork, type GraphiQLOptions } from 'graphql-yoga';

type Render = (options: GraphiQLOptions) => string | Promise<string>;

/** Not a literal: the package is optional, and without it the page loads GraphiQL from unpkg.com. */
const bundled: string = '@graphql-yoga/render-graphiql';
let render: Promise<Render> | null = null;

/** What the page shows to who opens it for the first time. */
export const firstOperations = `# Eunomia: what containers and processes do. The button or Ctrl-Enter runs the operation at the cursor;
# the documentation at the left describes each type, field and argument.

# What can be watched on this machine, and why not, if something cannot.
query Trackers {
  trackers { name available problem summary }
}

query Containers {
  containers { totalCount nodes { name image state startedAt } }
}

# The programs that are executed within five seconds, on the whole machine.
mutation Trace {
  trace(input: { trackers: [{ exec: {} }] }, for: "5s") {
    stats { produced lost received }
    aggregate(groupBy: ["container.name", "process.comm"]) { key { value } count }
    events(last: 100) {
      nodes { time process { pid comm } container { name image } ... on ExecEvent { errno executable args } }
    }
  }
}

# For live events, start a session, and subscribe to it. It is removed when no client has asked for it for a minute.
mutation Start {
  startSession(input: { trackers: [{ open: { failedOnly: true } }, { tcp: {} }], ttl: "1m" }) { id }
}

subscription Live($session: ID!) {
  events(session: $session, replay: 10) {
    gap { lost dropped }
    events {
      time tracker process { pid comm } container { name }
      ... on OpenEvent { path errno }
      ... on TcpEvent { tcpOperation remoteAddress remotePort }
    }
  }
}
`;

/** GraphiQL's page, whole when `@graphql-yoga/render-graphiql` is installed: it then works without internet. */
export async function renderGraphiQL(options: GraphiQLOptions = {}): Promise<string> {
  render ??= import(bundled).then(
    (module: { renderGraphiQL: Render }) => module.renderGraphiQL,
    () => renderFromNetwork,
  );
  return (await (await render)(options)).replace('<head>', () => `<head>\n<script>${SIGN_IN}</script>`);
}

/**
 * Runs in the browser before GraphiQL. A link with `#token=…` signs in: a fragment is never sent, so it reaches no log, and it is
 * taken out of the address at once. The token is kept for this tab, and sent to this server only.
 */
const SIGN_IN = `(() => {
  const name = 'eunomia-token';
  const given = /^#token=([A-Za-z0-9._~+/=-]+)$/.exec(location.hash);
  if (given) {
    sessionStorage.setItem(name, given[1]);
    history.replaceState(null, '', location.pathname + location.search);
  }
  const token = sessionStorage.getItem(name);
  if (!token) return;
  const send = window.fetch.bind(window);
  window.fetch = (input, init = {}) => {
    const isRequest = input instanceof Request;
    if (new URL(isRequest ? input.url : input, location.href).origin !== location.origin) return send(input, init);
    const headers = new Headers(init.headers ?? (isRequest ? input.headers : undefined));
    if (!headers.has('authorization')) headers.set('authorization', 'Bearer ' + token);
    return send(input, { ...init, headers });
  };
})();`;
