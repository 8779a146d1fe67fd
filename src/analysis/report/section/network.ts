import type { TraceEvent } from '../../../event/event.js';
import type { PeerDirection, PeerEntry, PortEntry, ReportSections, Section } from '../../../event/report.js';
import type { ConnectionFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { sample, Tally } from './tally.js';

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

/** Peers of connections, and ports that accepted some. A close has the bytes, but not which side connected: that is remembered. */
export class Network implements SectionCounter<'network'> {
  readonly #peers = new Tally<Peer>();
  readonly #ports = new Tally<Port>();
  readonly #open = new Map<string, PeerDirection>();

  add(fact: ConnectionFact, event: TraceEvent): void {
    const { operation, localAddress, localPort } = fact;
    const connection = `${localAddress} ${localPort} ${fact.remoteAddress} ${fact.remotePort}`;
    if (operation === 'CLOSE') {
      const direction = this.#open.get(connection);
      this.#open.delete(connection);
      // Of one that was there before the report, no more than its end is known.
      const peer = this.#peer(fact, event, direction ?? 'UNKNOWN', direction === undefined ? 1 : 0);
      if (!peer) return;
      peer.sent += BigInt(fact.sentBytes ?? 0);
      peer.received += BigInt(fact.receivedBytes ?? 0);
      return;
    }
    const direction = operation === 'ACCEPT' ? 'IN' : 'OUT';
    this.#peer(fact, event, direction, 1);
    if (operation !== 'CONNECT_FAILED' && this.#open.size < MOST_OPEN) this.#open.set(connection, direction);
    if (direction === 'OUT') return;
    const port = this.#ports.add(`${localAddress} ${localPort}`, () => ({
      address: localAddress,
      port: localPort,
      comms: [],
    }));
    if (port) sample(port.comms, event.process.comm);
  }

  build(top: number): Pick<ReportSections, 'peers' | 'listeningPorts'> {
    return { peers: this.#peersOf(top), listeningPorts: this.#portsOf(top) };
  }

  #peersOf(top: number): Section<PeerEntry> {
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

  #portsOf(top: number): Section<PortEntry> {
    return this.#ports.section(top, ({ address, port, comms }, count) => ({ address, port, count, comms }));
  }

  #peer(fact: ConnectionFact, event: TraceEvent, direction: PeerDirection, count: number): Peer | null {
    const port = direction === 'IN' ? fact.localPort : fact.remotePort;
    const { remoteAddress: address, errno } = fact;
    const peer = this.#peers.add(
      `${direction} ${address} ${port} ${errno}`,
      () => ({ direction, address, port, errno, sent: 0n, received: 0n, comms: [] }),
      count,
    );
    if (peer) sample(peer.comms, event.process.comm);
    return peer;
  }
}
