import type { ClientRequest, IncomingMessage } from 'node:http';

/** "100 Continue" and "103 Early Hints" before a response: without an end of them, they take all of a client's time. */
const MOST_INFORMATION = 16;

/**
 * The response to a request, before its body. Rejects with the request's error, and when its connection closes without a response:
 * Node.js tells nothing else of one that switches protocols (101), also to a signal.
 */
export function responseTo(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
    let information = 0;
    request.on('information', () => {
      if (++information === MOST_INFORMATION + 1)
        request.destroy(new Error(`more than ${MOST_INFORMATION} responses came that were none yet (1xx)`));
    });
    request.on('close', () => reject(new Error('the connection was closed without a response')));
  });
}
