import { UsageError } from './usage.js';

/** Of a saved query: see `saveQuery`. */
const NAME = /^@[\p{L}\p{N}][\p{L}\p{N} ._/-]*$/u;

/**
 * The `EventFilter` of a flag: a CEL expression, or `@` and the name of a filter that is saved on the server. Throws a UsageError for
 * what begins with `@` and is no name, and for a name without a server.
 */
export function whereInput(
  text: string,
  { server }: { readonly server?: string },
): { readonly saved: string } | { readonly expr: string } {
  if (!text.startsWith('@')) return { expr: text };
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
