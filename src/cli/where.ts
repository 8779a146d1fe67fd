import { UsageError } from './usage.js';

/** Of a saved query: see `saveQuery`. */
const NAME = /^@[\p{L}\p{N}][\p{L}\p{N} ._/-]*$/u;

/**
 * The `EventFilter` of a flag: a CEL expression, in which names are as in `-f`, or `@` and the name of a filter that is saved on the
 * server. `known`: the fields of what is filtered. Rejects with a UsageError for what begins with `@` and is no name, and for a name
 * without a server.
 */
export async function whereInput(
  text: string,
  { server }: { readonly server?: string },
  known: ReadonlySet<string>,
): Promise<{ readonly saved: string } | { readonly expr: string }> {
  if (!text.startsWith('@')) return { expr: await expressionOf(text, known) };
  if (!NAME.test(text))
    throw new UsageError(
      `--where: ${JSON.stringify(text)}: after "@" stands the name of a saved filter and nothing else; \`eunomia queries\` lists them`,
    );
  if (server === undefined)
    throw new UsageError(
      `--where: which server has the saved filter ${JSON.stringify(text.slice(1))}? Give --server with its URL, or EUNOMIA_SERVER`,
    );
  return { saved: text.slice(1) };
}

/** As `wholeNames`, which is loaded when somebody filters. */
export async function expressionOf(text: string, known: ReadonlySet<string>): Promise<string> {
  return (await import('./whole-names.js')).wholeNames(text, known);
}
