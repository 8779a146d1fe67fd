// GraphiQL's page of a server, in Chromium: node graphiql.mjs URL TOKEN SESSION. Prints what it shows, as JSON.
import { withTab } from './browser.mjs';

const [url, token, session] = process.argv.slice(2);
await withTab(async (page) => {
  const problems = [];
  const asked = new Set();
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('request', (request) => asked.add(new URL(request.url()).protocol + new URL(request.url()).host));

  const open = async (address) => {
    await page.goto('about:blank');
    await page.goto(address);
    await page.locator('.graphiql-query-editor .CodeMirror').waitFor();
  };
  const textOf = (selector) =>
    page.evaluate(
      (each) => [...document.querySelectorAll(each)].map(({ CodeMirror }) => CodeMirror.getValue()),
      selector,
    );
  /** Runs the operation of a link as a user does, and returns the result once it has this text. */
  const run = async (query, awaited) => {
    await open(`${url}?${new URLSearchParams({ query })}`);
    await page.locator('.graphiql-execute-button').click();
    await page.locator('.result-window .CodeMirror').filter({ hasText: awaited }).waitFor();
    const [text] = await textOf('.result-window .CodeMirror');
    return JSON.parse(text);
  };

  const result = page.locator('.result-window .CodeMirror');
  /** Each operation of the page's own, unchanged, as a user chooses it from the button's menu. */
  const runWelcome = async () => {
    await page.evaluate(() => localStorage.clear());
    await open(url);
    const results = {};
    const choose = async (name, awaited) => {
      await page.locator('.graphiql-execute-button').click();
      await page.getByRole('menuitem', { name, exact: true }).click();
      await result.filter({ hasText: awaited }).waitFor();
      results[name] = JSON.parse((await textOf('.result-window .CodeMirror'))[0]);
    };
    await choose('Trackers', 'trackers');
    await choose('Containers', 'totalCount');
    await choose('Trace', 'produced');
    await choose('Start', 'startSession');
    const variables = JSON.stringify({ session: results.Start.data.startSession.id });
    await page.evaluate((text) => {
      const [, editor] = document.querySelectorAll('.graphiql-editors .CodeMirror');
      editor.CodeMirror.setValue(text);
    }, variables);
    await choose('Live', 'tracker');
    await page.locator('.graphiql-execute-button').click();
    return results;
  };

  await open(`${url}#token=${token}`);
  const [first] = await textOf('.graphiql-query-editor .CodeMirror');
  const query = await run('{ server { version } }', 'version');
  const live = await run(`subscription { events(session: "${session}") { events { tracker } } }`, 'tracker');
  await page.locator('.graphiql-execute-button').click(); // it ends
  await page.locator('[aria-label="Show Documentation Explorer"]').click();
  await page.locator('.graphiql-doc-explorer').filter({ hasText: 'Mutation' }).waitFor();
  const welcome = await runWelcome();
  const seen = { first, query, live, welcome, problems: [...problems], asked: [...asked] };
  // Who has no token is shown where to write it.
  await page.evaluate(() => [sessionStorage, localStorage].forEach((storage) => storage.clear()));
  await open(url);
  const headers = (await textOf('.graphiql-editors .CodeMirror')).find((text) => text.includes('authorization'));
  // Who has a wrong one is told so.
  await open(`${url}#token=wrong`);
  await open(`${url}?${new URLSearchParams({ query: '{ server { version } }' })}`);
  await page.locator('.graphiql-execute-button').click();
  await result.filter({ hasText: 'token' }).waitFor();
  const [refused] = await textOf('.result-window .CodeMirror');
  process.stdout.write(JSON.stringify({ ...seen, headers, refused }));
});
