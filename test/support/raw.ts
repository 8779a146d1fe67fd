import { connect } from 'node:net';

export interface RawResponse {
  /** 0 when the connection ended without a response. */
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/**
 * Sends bytes as they are, and reads until a whole response has arrived or the connection ends. Streams are left after
 * their first byte of body.
 */
export function sendRaw(url: string, bytes: string | Buffer): Promise<RawResponse> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname.replace(/^\[(.*)\]$/, '$1'));
    let text = '';
    /** Its length, once the head is there. Looked for in all of a page of megabytes at each of its chunks, it would take a second. */
    let whole: number | null = null;
    const finish = (): void => {
      socket.destroy();
      const [head = '', ...rest] = text.split('\r\n\r\n');
      resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0), head, body: rest.join('\r\n\r\n') });
    };
    socket.setTimeout(30_000, () =>
      reject(new Error(`no whole response within 30 s to ${String(bytes).slice(0, 200)}: ${text}`)),
    );
    socket.on('error', (error: NodeJS.ErrnoException) =>
      text === '' && error.code !== 'ECONNRESET' && error.code !== 'EPIPE' ? reject(error) : finish(),
    );
    socket.on('close', finish);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      whole ??= wholeLength(text);
      if (whole !== null && text.length >= whole) finish();
    });
    socket.write(bytes);
  });
}

/** How long a response is at least before it is left, by its head; null while that is not there. */
function wholeLength(text: string): number | null {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const head = text.slice(0, end);
  const length = /^content-length: (\d+)$/im.exec(head)?.[1];
  const body = length === undefined ? Number(!/^HTTP\/1\.1 (101|204|304)/.test(head)) : Number(length);
  return end + 4 + body;
}
