import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

/** The kernel gives ports from here on to connections, and to listeners that ask for any. */
const [FIRST_GIVEN = 32_768] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t').map(Number);

/** fetch() refuses some ports up to 10,080, and says only that it failed (https://fetch.spec.whatwg.org/#port-blocking). */
const FIRST_FETCHED = 10_081;

/** A port of the loopback that nobody has, nor is given, for programs that cannot take a free one by themselves. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST_FETCHED, FIRST_GIVEN);
    const listener = createServer().listen(port, '127.0.0.1');
    const isFree = await once(listener, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    listener.close();
    await once(listener, 'close');
    return port;
  }
}
