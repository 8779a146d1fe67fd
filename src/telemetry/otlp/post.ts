import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { Poster, type PostHeaders, type PostResult } from '../../base/post.js';

export type { PostResult } from '../../base/post.js';
export type Post = (body: Uint8Array) => Promise<PostResult>;

/** By the OTLP specification, these and no others are worth another try. */
const AGAIN: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const compress = promisify(gzip);

/** Posts protobuf to one path of a collector. Never rejects. */
export function poster(url: string, headers: PostHeaders, ca: string | null): Post {
  const one = new Poster({ who: 'the collector', url, ca, isAgain: (status) => AGAIN.has(status), reads: true });
  const all = { ...headers, 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip' };
  return async (body) => one.post(await compress(body, { level: 1 }), all);
}
