import Negotiator from 'negotiator';

/** What results can be sent as. The first that a client likes equally well is taken. */
const RESULTS = ['application/graphql-response+json', 'application/json'] as const;
const STREAMS = ['text/event-stream', 'multipart/mixed'] as const;

/** What of it a client accepts, best first (RFC 9110, 12.5.1); both empty when it accepts nothing that this server sends. */
export interface Acceptable {
  readonly results: readonly string[];
  readonly streams: readonly string[];
}

// Parameters other than the weight (charset, boundary, versions of an incremental delivery) do not exclude our types.
const PARAMETER = /;(?!\s*q\s*=)[^;,="]+(?:=\s*(?:"(?:[^"\\]|\\.)*"|[^;,"]*))?/gi;

/** Reads an Accept header: media ranges with their weights; a missing or empty one accepts everything. */
export function acceptable(accept: string | undefined): Acceptable {
  const negotiator = new Negotiator({ headers: { accept: accept?.replace(PARAMETER, '') || undefined } });
  return { results: negotiator.mediaTypes([...RESULTS]), streams: negotiator.mediaTypes([...STREAMS]) };
}

/**
 * The same as a list of plain types for a reader that knows neither weights nor preferences: each there once, best first, and of the
 * streams only the best.
 */
export function plainAccept({ results, streams }: Acceptable): string {
  return [...results, ...streams.slice(0, 1)].join(', ');
}
