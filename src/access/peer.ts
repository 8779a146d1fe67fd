/** One end of a TCP connection and the other. */
export interface ConnectionEnds {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/** Tells whether the process at the other end of a loopback connection is an operator's; `reason` tells why not. Never rejects. */
export interface PeerCheck {
  /** `ends` as the other end sees them. */
  check(
    ends: ConnectionEnds,
  ): Promise<{ readonly operator: true } | { readonly operator: false; readonly reason: string }>;
}
