import type { ClientRequest, IncomingMessage } from 'node:http';

/**
 * The response to a request, before its body. Rejects with the request's error, and when its connection closes without a response:
 * Node.js tells nothing else of one that switches protocols (101), also to a signal.
 */
export function responseTo(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
    request.on('close', () => reject(new Error('the connection was closed without a response')));
  });
}
