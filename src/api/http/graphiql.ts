import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { packageFile } from '../../base/paths.js';

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

export interface GraphiqlPage {
  readonly html: string;
  /** Of the header Content-Security-Policy: the page runs its own scripts and asks its own server, nothing else. */
  readonly policy: string;
}

/** GraphiQL's page, which loads nothing else: it works without internet. Rejects where the set-up has not made it. */
export async function renderGraphiql(): Promise<GraphiqlPage> {
  const part = (name: string): Promise<string> => readFile(packageFile('dist/graphiql', name), 'utf8');
  const [script, style] = await Promise.all([part('page.js'), part('page.css')]);
  const options = JSON.stringify({ defaultQuery: firstOperations });
  const own = inside(script, 'script');
  return {
    html: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Eunomia</title>
<script>${SIGN_IN}</script>
<style>${inside(style, 'style')}
body { margin: 0 } #graphiql { height: 100vh }</style>
</head>
<body>
<div id="graphiql"></div>
<script type="application/json" id="options">${options.replaceAll('<', '\\u003c')}</script>
<script type="module">${own}</script>
</body>
</html>
`,
    policy: [
      "default-src 'none'",
      `script-src ${[SIGN_IN, own].map(hashSource).join(' ')}`,
      "style-src 'unsafe-inline'", // the editor sets sizes
      'font-src data:',
      'img-src data:',
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join('; '),
  };
}

/** Text of an element that only its own end tag ends, which its text must not have. */
function inside(text: string, element: 'script' | 'style'): string {
  return text.replaceAll(`</${element}`, `<\\/${element}`).replaceAll('<!--', '<\\!--');
}

function hashSource(script: string): string {
  return `'sha256-${createHash('sha256').update(script).digest('base64')}'`;
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
