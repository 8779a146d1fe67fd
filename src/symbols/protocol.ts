/** A stack as it was captured, and where its process is. */
export interface StackAsk {
  readonly captured: Uint8Array;
  readonly mountNs: number;
  readonly pid: number;
  /** Others that may be in its mount namespace, and live longer. */
  readonly others: readonly number[];
  /** When it was captured, in ms since 1970: files that were changed since are not what it ran. */
  readonly at: number;
}

/** A type, as a channel's protocol has to be. */
export type SymbolProtocol = {
  readonly asks: {
    /** Returns the frames of each. */
    readonly describe: { readonly ask: readonly StackAsk[]; readonly reply: readonly (readonly string[])[] };
  };
  readonly posts: Record<never, never>;
  readonly notes: Record<never, never>;
};
