import type { IncomingHttpHeaders } from 'node:http';
import { Readable, pipeline, type Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import zlib from 'node:zlib';
import Negotiator from 'negotiator';

/** A content coding of HTTP (RFC 9110, 8.4.1). */
export type Coding = 'zstd' | 'br' | 'gzip';

/** Smaller bodies fit into one packet or two, and would hardly become smaller. */
const LEAST_BYTES = 1024;

/** What a compressor holds until its last byte has been read, at most: window, tables and what waits on both sides. */
export const COMPRESSOR_BYTES = 1 << 20;

interface Method {
  readonly coding: Coding;
  /** `live`: what is written can be read at once, at the price of some bytes. */
  make(live: boolean): Transform;
}

const { constants } = zlib;

/** Not in the types of the oldest Node that runs this: Node 22.15 and later have it. */
interface Zstd {
  createZstdCompress?(options: { flush?: number | undefined; params: Record<number, number> }): Transform;
}
const ZSTD_E_FLUSH = 1;
const ZSTD_C_COMPRESSION_LEVEL = 100;

/**
 * Best first, where a client likes several equally well. The levels are low: the machine is there for what it is observed for. On a page of
 * events zstd at level 1 takes a sixth of the time of the others, and makes it as small (docs/decisions/107-compression.md).
 */
function methods(): readonly Method[] {
  const { createZstdCompress } = zlib as Zstd;
  return [
    ...(createZstdCompress
      ? [
          {
            coding: 'zstd',
            make: (live: boolean) =>
              createZstdCompress({
                flush: live ? ZSTD_E_FLUSH : undefined,
                params: { [ZSTD_C_COMPRESSION_LEVEL]: 1 },
              }),
          } as const,
        ]
      : []),
    {
      coding: 'br',
      make: (live) =>
        zlib.createBrotliCompress({
          flush: live ? constants.BROTLI_OPERATION_FLUSH : undefined,
          params: { [constants.BROTLI_PARAM_QUALITY]: 3, [constants.BROTLI_PARAM_LGWIN]: 18 },
        }),
    },
    {
      coding: 'gzip',
      make: (live) => zlib.createGzip({ level: 4, flush: live ? constants.Z_SYNC_FLUSH : undefined }),
    },
  ];
}

/** What @types/negotiator does not know yet of negotiator 1.0. */
interface WithPreference {
  encodings(available: readonly string[], options: { readonly preferred: readonly string[] }): string[];
}

/** A whole body, and the coding that it has; null for none. */
export interface Coded {
  readonly body: Buffer;
  readonly coding: Coding | null;
}

/** Compresses bodies of responses as their clients accept it. zlib works in threads of libuv, and never holds the event loop. */
export class Compression {
  readonly #methods: readonly Method[];
  readonly #known: readonly string[];

  constructor(enabled: boolean) {
    this.#methods = enabled ? methods() : [];
    this.#known = [...this.#methods.map(({ coding }) => coding), 'identity'];
  }

  /** The request headers that decide what a response is like, as `Vary` names them. */
  get vary(): string {
    return this.#methods.length > 0 ? 'Accept, Accept-Encoding' : 'Accept';
  }

  /** What the client likes best (RFC 9110, 12.5.3); null for no coding, also where it accepts none of all. */
  accepted(headers: Pick<IncomingHttpHeaders, 'accept-encoding'>): Coding | null {
    if (this.#methods.length === 0 || headers['accept-encoding'] === undefined) return null;
    const negotiator = new Negotiator({ headers }) as unknown as WithPreference;
    const [best] = negotiator.encodings(this.#known, { preferred: this.#known });
    return this.#methods.find(({ coding }) => coding === best)?.coding ?? null;
  }

  /** What is written to it can be read in this coding; with `live` at once. */
  open(coding: Coding, { live = false } = {}): Transform {
    const method = this.#methods.find((each) => each.coding === coding);
    if (!method) throw new Error(`no compression with ${coding}`);
    return method.make(live);
  }

  /** A body in parts, each compressed once what was before it has been taken. */
  stream(coding: Coding, parts: AsyncIterable<Uint8Array>): Readable {
    // What fails, or is not read to its end, is destroyed with the other; whoever reads is told.
    return pipeline(Readable.from(parts, { objectMode: false }), this.open(coding), () => undefined);
  }

  /** A small body stays as it is. */
  async whole(coding: Coding | null, body: Buffer): Promise<Coded> {
    if (coding === null || body.length < LEAST_BYTES) return { body, coding: null };
    const compressor = this.open(coding);
    compressor.end(body);
    return { body: await buffer(compressor), coding };
  }
}

/** The header that names the coding; none for none. */
export function encodingHeader(coding: Coding | null): Readonly<Record<string, string>> {
  return coding === null ? {} : { 'Content-Encoding': coding };
}
