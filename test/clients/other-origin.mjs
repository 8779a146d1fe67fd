// A page of another origin in Chromium: node other-origin.mjs PAGE SERVER TOKEN SESSION. Prints what each way into
// the server gave the page, as JSON.
import { withTab } from './browser.mjs';

const [page, url, token, session] = process.argv.slice(2);
await withTab(async (tab) => {
  await tab.goto(page, { waitUntil: 'domcontentloaded' });
  const seen = await tab.evaluate(
    async ({ url, token, session }) => {
      const authorization = `Bearer ${token}`;
      const post = (query, accept) =>
        fetch(url, {
          method: 'POST',
          headers: { authorization, accept, 'content-type': 'application/json' },
          body: JSON.stringify({ query }),
        });
      const ways = {
        async query() {
          const { data } = await (await post('{ server { version } }', 'application/json')).json();
          return typeof data.server.version;
        },
        async events() {
          const subscription = `subscription { sessionChanged(id: "${session}") { id } }`;
          const reader = (await post(subscription, 'text/event-stream')).body.getReader();
          let text = '';
          while (!text.includes('"id"')) text += new TextDecoder().decode((await reader.read()).value);
          await reader.cancel();
          return text.includes(session) ? 'events' : text;
        },
        async download() {
          const address = new URL(`/export/${session}.ndjson`, url);
          const response = await fetch(address, { headers: { authorization } });
          return `${response.status} ${response.headers.get('content-disposition')}`;
        },
        async refusal() {
          const response = await fetch(url, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: '{}',
          });
          return `${response.status} ${response.headers.get('www-authenticate')}`;
        },
        webSocket: () =>
          new Promise((resolve, reject) => {
            const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws');
            socket.addEventListener('error', () => reject(new Error('refused')));
            const init = JSON.stringify({ type: 'connection_init', payload: { authorization } });
            socket.addEventListener('open', () => socket.send(init));
            socket.addEventListener('message', ({ data }) => resolve(JSON.parse(data).type));
          }),
      };
      const found = {};
      for (const [name, way] of Object.entries(ways)) found[name] = await way().catch((error) => String(error));
      return found;
    },
    { url, token, session },
  );
  process.stdout.write(`${JSON.stringify(seen)}\n`);
});
process.exit(0);
