import { renderGraphiQL as renderFromNetwork, type GraphiQLOptions } from 'graphql-yoga';

type Render = (options: GraphiQLOptions) => string;

/** Not a literal: the package is optional, and without it the page loads GraphiQL from unpkg.com. */
const bundled: string = '@graphql-yoga/render-graphiql';
let render: Promise<Render> | null = null;

/** GraphiQL's page, whole when `@graphql-yoga/render-graphiql` is installed: it then works without internet. */
export async function renderGraphiQL(options: GraphiQLOptions = {}): Promise<string> {
  render ??= import(bundled).then(
    (module: { renderGraphiQL: Render }) => module.renderGraphiQL,
    () => renderFromNetwork,
  );
  return (await render)(options);
}
