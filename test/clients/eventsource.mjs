// EventSource of Chromium on a page of the server: node eventsource.mjs PAGE SUBSCRIPTION. Prints, as a JSON line each, the paths that
// come with a result, and "opened" for each connection. A line on standard input ends it.
import { once } from 'node:events';
import { withTab } from './browser.mjs';

const [page, subscription] = process.argv.slice(2);
await withTab(async (tab) => {
  await tab.exposeFunction('tell', (what) => process.stdout.write(`${JSON.stringify(what)}\n`));
  await tab.goto(page, { waitUntil: 'domcontentloaded' });
  await tab.evaluate((query) => {
    const source = new EventSource(`/graphql?query=${encodeURIComponent(query)}`);
    source.addEventListener('open', () => window.tell('opened'));
    source.addEventListener('next', ({ data }) => {
      const { events, gap } = JSON.parse(data).data.events;
      window.tell({ paths: events.map(({ path }) => path), gap });
    });
    source.addEventListener('complete', () => {
      source.close();
      window.tell('complete');
    });
  }, subscription);
  await once(process.stdin, 'data');
});
process.exit(0);
