import type { IncomingHttpHeaders } from 'node:http';
import type Docker from 'dockerode';
import { messageOf } from '../../base/errors.js';
import { get, MAX_BYTES } from './request.js';

/** What an engine says of itself in the head of its response to a ping. */
export interface EngineIdentity {
  readonly kind: 'docker' | 'podman';
  /** Null when it does not say. */
  readonly version: string | null;
}

/**
 * Asks by `/_ping`, which every engine responds at once; Podman's `/version` takes seconds. Rejects with what is listening there
 * instead when it is no Docker API.
 */
export async function shakeHands(docker: Docker, abortSignal: AbortSignal): Promise<EngineIdentity> {
  const { headers } = await get(docker, '/_ping', abortSignal, MAX_BYTES.ping).catch((error: unknown) => {
    throw explain(error);
  });
  const identity = identify(headers);
  if (identity === null) throw new Error('an HTTP server listens there, but it does not speak the Docker API');
  return identity;
}

/** Null when no engine has sent these headers. */
export function identify(headers: IncomingHttpHeaders): EngineIdentity | null {
  const server = /^(Docker|Libpod)\/(\S{1,100})/i.exec(String(headers.server ?? ''));
  const libpod = headers['libpod-api-version'];
  if (libpod !== undefined || server?.[1]?.toLowerCase() === 'libpod') {
    return { kind: 'podman', version: server?.[2] ?? (typeof libpod === 'string' ? libpod : null) };
  }
  return headers['api-version'] === undefined && server === null
    ? null
    : { kind: 'docker', version: server?.[2] ?? null };
}

// What an HTTP/2 server says first: a frame of type 4 (SETTINGS), not an acknowledgement, on stream 0 (RFC 9113, 3.4).
const SETTINGS_FRAME = /^[0-9a-f]{6}040000000000/;

function explain(error: unknown): Error {
  if (statusOf(error) !== null)
    return new Error(
      `an HTTP server listens there, but it does not speak the Docker API (/_ping: status ${statusOf(error)})`,
    );
  const packet = typeof error === 'object' && error !== null && 'rawPacket' in error ? error.rawPacket : null;
  if (packet instanceof Uint8Array) {
    const isHttp2 = SETTINGS_FRAME.test(Buffer.from(packet.subarray(0, 9)).toString('hex'));
    const what = isHttp2 ? 'speaks gRPC, as the sockets of containerd and CRI-O do' : 'does not speak HTTP';
    return new Error(
      `what listens there ${what}; needed is an engine with the Docker API: Docker's or Podman's socket`,
    );
  }
  return new Error(messageOf(error));
}

function statusOf(error: unknown): number | null {
  const code: unknown = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : null;
  return typeof code === 'number' ? code : null;
}
