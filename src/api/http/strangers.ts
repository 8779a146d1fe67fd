import type { Socket } from 'node:net';

/**
 * Connections of which nobody knows yet whose they are: in a TLS handshake, sending headers, or a WebSocket without `connection_init`.
 * They are few. One more ends the oldest of the address that has most of them, so that a flood from one peer does not shut out others.
 */
export class Strangers {
  readonly #limit: number;
  /** By address, oldest first. */
  readonly #sockets = new Map<string, Set<Socket>>();
  readonly #byPeer = new Map<string, Socket>();
  #count = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get count(): number {
    return this.#count;
  }

  /** A connection as it was accepted, before TLS. */
  enter(socket: Socket): void {
    const { remoteAddress: address } = socket;
    if (address === undefined) return void socket.destroy(); // it has gone already
    if (this.#count >= this.#limit) this.#evict();
    const peer = peerOf(socket);
    // There is one connection with the same ends at a time: the former was reset, even where nobody has read that yet.
    this.#byPeer.get(peer)?.destroy();
    const ofAddress = this.#sockets.get(address) ?? new Set();
    this.#sockets.set(address, ofAddress.add(socket));
    this.#byPeer.set(peer, socket);
    this.#count += 1;
    socket.once('close', () => this.#leave(address, peer, socket));
  }

  /** The peer of a request has said who it is. Its TLS socket has the same peer as the one that was accepted. */
  identified(peer: Ends): void {
    const socket = this.#byPeer.get(peerOf(peer));
    if (peer.remoteAddress !== undefined && socket) this.#leave(peer.remoteAddress, peerOf(peer), socket);
  }

  /** Ends them all. */
  close(): void {
    for (const socket of this.#byPeer.values()) socket.destroy();
  }

  #leave(address: string, peer: string, socket: Socket): void {
    if (this.#byPeer.get(peer) === socket) this.#byPeer.delete(peer);
    const ofAddress = this.#sockets.get(address);
    if (!ofAddress?.delete(socket)) return;
    this.#count -= 1;
    if (ofAddress.size === 0) this.#sockets.delete(address);
  }

  #evict(): void {
    let most = new Set<Socket>();
    for (const sockets of this.#sockets.values()) if (sockets.size > most.size) most = sockets;
    const [oldest] = most;
    if (!oldest) return;
    const [address = '', peer] = [oldest.remoteAddress, peerOf(oldest)];
    oldest.destroy();
    // Now, not at its `close`: more may come in this turn.
    this.#leave(address, peer, oldest);
  }
}

type Ends = Pick<Socket, 'remoteAddress' | 'remotePort' | 'localAddress' | 'localPort'>;

function peerOf({ remoteAddress, remotePort, localAddress, localPort }: Ends): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
