import type { Packed } from '../../base/packed.js';

/** What goes between the server and the thread that parses rule files. A type, as a channel's protocol has to be. */
export type RuleFileProtocol = {
  readonly asks: {
    /** Of YAML; the reply is a `ParsedYaml`. */
    readonly parse: { readonly ask: string; readonly reply: Packed };
  };
  readonly posts: Readonly<Record<never, never>>;
  readonly notes: Readonly<Record<never, never>>;
};
