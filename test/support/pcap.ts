/** A packet of a file. */
export interface FiledPacket {
  /** Nanoseconds since 1970. */
  readonly time: bigint;
  readonly bytes: Buffer;
  readonly length: number;
  /** Of pcapng: the interface's name, and the packet's options by their codes. */
  readonly device: string;
  readonly options: ReadonlyMap<number, Buffer>;
}

export interface Capture {
  readonly packets: readonly FiledPacket[];
  readonly linkType: number;
  /** Of pcapng: the options of the section, of each interface, and of the statistics. */
  readonly section: ReadonlyMap<number, Buffer>;
  readonly interfaces: readonly ReadonlyMap<number, Buffer>[];
  readonly statistics: ReadonlyMap<number, Buffer> | null;
}

/** Reads pcapng in network byte order. Throws where a block is not as it says. */
export function readPcapng(file: Buffer): Capture {
  const interfaces: ReadonlyMap<number, Buffer>[] = [];
  const packets: FiledPacket[] = [];
  let section: ReadonlyMap<number, Buffer> = new Map();
  let statistics: ReadonlyMap<number, Buffer> | null = null;
  let linkType = -1;
  for (let at = 0; at < file.length;) {
    const length = file.readUInt32BE(at + 4);
    if (length % 4 || file.readUInt32BE(at + length - 4) !== length) throw new Error(`a block at ${at} of ${length}`);
    const body = file.subarray(at + 8, at + length - 4);
    const type = file.readUInt32BE(at);
    if (type === 0x0a0d0d0a) {
      if (body.readUInt32BE(0) !== 0x1a2b3c4d) throw new Error('not in network byte order');
      section = optionsOf(body.subarray(16));
    } else if (type === 1) {
      linkType = body.readUInt16BE(0);
      interfaces.push(optionsOf(body.subarray(8)));
    } else if (type === 6) {
      const captured = body.readUInt32BE(12);
      packets.push({
        time: body.readBigUInt64BE(4),
        bytes: body.subarray(20, 20 + captured),
        length: body.readUInt32BE(16),
        device: interfaces[body.readUInt32BE(0)]?.get(2)?.toString() ?? '',
        options: optionsOf(body.subarray(20 + ((captured + 3) & ~3))),
      });
    } else if (type === 5) statistics = optionsOf(body.subarray(12));
    else throw new Error(`a block of type ${type}`);
    at += length;
  }
  return { packets, linkType, section, interfaces, statistics };
}

function optionsOf(bytes: Buffer): ReadonlyMap<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = 0; ;) {
    const code = bytes.readUInt16BE(at);
    const length = bytes.readUInt16BE(at + 2);
    if (code === 0) return options;
    options.set(code, bytes.subarray(at + 4, at + 4 + length));
    at += 4 + ((length + 3) & ~3);
  }
}

const ETHERNET_BYTES = 14;

/**
 * The packets of a file that tcpdump writes of a loopback device, from the IP header on (pcap, of this machine's byte order), as far as
 * they are whole.
 */
export function readPcap(file: Buffer): readonly Buffer[] {
  const packets: Buffer[] = [];
  for (let at = 24; at < file.length;) {
    const length = at + 12 > file.length ? 0 : file.readUInt32LE(at + 8);
    if (at + 16 + length > file.length) break;
    packets.push(file.subarray(at + 16 + ETHERNET_BYTES, at + 16 + length));
    at += 16 + length;
  }
  return packets;
}
