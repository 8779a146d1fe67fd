// EventSource of Chromium on a page of the server: node eventsource.mjs PAGE SUBSCRIPTION CODE. CODE, of the documentation, makes
// `source` of `document` and calls `show`. Prints, as a JSON line each, the paths that come with a result, and "opened" for each
// connection. A line on standard input ends it.
import { once } from 'node:events';
import { withTab } from './browser.mjs';

const [page, subscription, code] = process.argv.slice(2);
await withTab(async (tab) => {
  await tab.exposeFunction('tell', (what) => process.stdout.write(`${JSON.stringify(what)}\n`));
  await tab.goto(page, { waitUntil: 'domcontentloaded' });
  await tab.evaluate(`{
    const document = ${JSON.stringify(subscription)};
    const show = ({ events, gap }) => window.tell({ paths: events.map(({ path }) => path), gap });
    ${code}
    source.addEventListener('open', () => window.tell('opened'));
    source.addEventListener('complete', () => window.tell('complete'));
  }`);
  await once(process.stdin, 'data');
});
process.exit(0);
