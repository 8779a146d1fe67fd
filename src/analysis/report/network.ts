import type { TraceEvent } from '../../event/event.js';
import type { PeerDirection, PeerEntry, PortEntry, Section } from '../../event/report.js';
import { sample, Tally } from './tally.js';

/** Fields of an event of the tracker tcp. */
interface TcpEvent extends TraceEvent {
  readonly operation: 'CONNECT' | 'ACCEPT' | 'CLOSE' | 'CONNECT_FAILED';
  readonly errno: string | null;
  readonly localAddress: string | null;
  readonly localPort: number | null;
  readonly remoteAddress: string | null;
  readonly remotePort: number | null;
  readonly sentBytes: string | null;
  readonly receivedBytes: string | null;
}

interface Peer {
  readonly direction: PeerDirection;
  readonly address: string | null;
  readonly port: number | null;
  readonly errno: string | null;
  sent: bigint;
  received: bigint;
  readonly comms: string[];
}

interface Port {
  readonly address: string | null;
  readonly port: number | null;
  readonly comms: string[];
}

/** Connections whose end is awaited, to know which side made them. */
const MOST_OPEN = 50_000;

/** Peers and accepting ports, of events of the tracker tcp. A close tells the bytes, but not which side connected: that is remembered. */
export class Network {
  readonly #peers = new Tally<Peer>();
  readonly #ports = new Tally<Port>();
  readonly #open = new Map<string, PeerDirection>();

  add(traced: TraceEvent): void {
    const event = traced as TcpEvent;
    const connection = `${event.localAddress} ${event.localPort} ${event.remoteAddress} ${event.remotePort}`;
    if (event.operation === 'CLOSE') {
      const direction = this.#open.get(connection);
      this.#open.delete(connection);
      // Of one that was there before the report, no more than its end is known.
      const peer = this.#peer(event, direction ?? 'UNKNOWN', direction === undefined ? 1 : 0);
      if (!peer) return;
      peer.sent += BigInt(event.sentBytes ?? 0);
      peer.received += BigInt(event.receivedBytes ?? 0);
      return;
    }
    const direction = event.operation === 'ACCEPT' ? 'IN' : 'OUT';
    this.#peer(event, direction, 1);
    if (event.operation !== 'CONNECT_FAILED' && this.#open.size < MOST_OPEN) this.#open.set(connection, direction);
    if (direction === 'OUT') return;
    const port = this.#ports.add(`${event.localAddress} ${event.localPort}`, () => ({
      address: event.localAddress,
      port: event.localPort,
      comms: [],
    }));
    if (port) sample(port.comms, event.process.comm);
  }

  peers(top: number): Section<PeerEntry> {
    return this.#peers.section(top, ({ direction, address, port, errno, sent, received, comms }, count) => ({
      direction,
      address,
      port,
      errno,
      count,
      sentBytes: String(sent),
      receivedBytes: String(received),
      comms,
    }));
  }

  ports(top: number): Section<PortEntry> {
    return this.#ports.section(top, ({ address, port, comms }, count) => ({ address, port, count, comms }));
  }

  #peer(event: TcpEvent, direction: PeerDirection, count: number): Peer | null {
    const port = direction === 'IN' ? event.localPort : event.remotePort;
    const { remoteAddress: address, errno } = event;
    const peer = this.#peers.add(
      `${direction} ${address} ${port} ${errno}`,
      () => ({ direction, address, port, errno, sent: 0n, received: 0n, comms: [] }),
      count,
    );
    if (peer) sample(peer.comms, event.process.comm);
    return peer;
  }
}
