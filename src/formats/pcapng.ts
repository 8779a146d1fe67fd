import { nanosecondsSince1970 } from '../event/clock.js';
import type { Gap, TraceEvent } from '../event/event.js';
import { MOST_ITEMS, type Encoder, type ExportEnd } from './encoder.js';

/** The tracker whose events are packets, and the fields of them that the file is made from. */
export const packetTracker = 'packet';
export const packetFields = ['data', 'packetBytes', 'packetDirection', 'process', 'container'];

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const STATISTICS = 5;
const PACKET = 6;
/** From the IP header on, of either version (https://www.tcpdump.org/linktypes.html). */
const LINKTYPE_RAW = 101;
/** Options of all blocks, and of each kind. */
const END = 0;
const COMMENT = 1;
const SECTION_OS = 3;
const SECTION_APPLICATION = 4;
const INTERFACE_NAME = 2;
const INTERFACE_DESCRIPTION = 3;
const INTERFACE_RESOLUTION = 9;
const NANOSECONDS = 9;
const PACKET_FLAGS = 2;
const PACKET_DROPS = 4;
const STATISTICS_RECEIVED = 4;
const STATISTICS_DROPS = 5;
const encoder = new TextEncoder();
const directions: Readonly<Record<string, number>> = { RECEIVED: 1, SENT: 2 };
/** A text of an option is at most so long, so that no block needs more than 16 bits of length for it. */
const TEXT_BYTES = 512;

export interface PcapngFacts {
  readonly version: string;
  readonly kernel: string;
}

/**
 * Packets as pcapng (draft-ietf-opsawg-pcapng), in network byte order: an interface for each container, named after it, and one named
 * "host"; each packet with its time in nanoseconds, its direction and, as a comment, its process. What is missing before a packet is its
 * drop count; the statistics at the end have it all. Events of other trackers are left out. A file without packets has an interface too:
 * tcpdump reads none that has not.
 */
export function pcapng({ version, kernel }: PcapngFacts): Encoder<TraceEvent> {
  const interfaces = new Map<string, Interface>();
  let packets = 0;
  let missing = 0n;
  let lastGap = 0n;

  const write = (event: TraceEvent, parts: Buffer[]): void => {
    const container = event.container as Container | null;
    const id = container?.id ?? '';
    let at = interfaces.get(id);
    if (!at) {
      at = { number: interfaces.size, lastTime: 0n };
      interfaces.set(id, at);
      parts.push(interfaceBlock(container));
    }
    at.lastTime = nanosecondsSince1970(event.time);
    parts.push(packetBlock(event, at, missing));
    missing = 0n;
    packets++;
  };

  return {
    contentType: 'application/x-pcapng',
    head: () => sectionBlock(version, kernel),
    most: MOST_ITEMS,
    items: (events, gap) => {
      if (gap) {
        missing += missingOf(gap);
        lastGap = nanosecondsSince1970(gap.to);
      }
      const parts: Buffer[] = [];
      for (const event of events) if (event.tracker === packetTracker) write(event, parts);
      return Buffer.concat(parts);
    },
    change: () => '',
    end: (ending) => {
      const [first] = interfaces.values();
      if (first) return statisticsBlock(first, packets, ending);
      // Readers refuse a file without an interface, and what is missing is told of one.
      return Buffer.concat([interfaceBlock(null), statisticsBlock({ number: 0, lastTime: lastGap }, 0, ending)]);
    },
  };
}

interface Container {
  readonly id: string;
  readonly name: string | null;
  readonly image: string | null;
}

interface Interface {
  readonly number: number;
  /** Of its last packet. */
  lastTime: bigint;
}

const missingOf = ({ lost, dropped }: Pick<Gap, 'lost' | 'dropped'>): bigint => BigInt(lost) + BigInt(dropped);

function sectionBlock(version: string, kernel: string): Buffer {
  const body = Buffer.alloc(16);
  body.writeUInt32BE(0x1a2b3c4d, 0);
  body.writeUInt16BE(1, 4); // version 1.0
  body.writeBigInt64BE(-1n, 8); // of unknown length
  return block(SECTION, body, text(SECTION_OS, `Linux ${kernel}`), text(SECTION_APPLICATION, `Eunomia ${version}`));
}

function interfaceBlock(container: Container | null): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt16BE(LINKTYPE_RAW, 0);
  const name = container ? (container.name ?? container.id.slice(0, 12)) : 'host';
  const description = container ? [`container ${container.id}`, container.image].filter(Boolean).join(', ') : null;
  return block(
    INTERFACE,
    body,
    text(INTERFACE_NAME, name),
    ...(description === null ? [] : [text(INTERFACE_DESCRIPTION, description)]),
    option(INTERFACE_RESOLUTION, Buffer.from([NANOSECONDS])),
  );
}

function packetBlock(event: TraceEvent, { number, lastTime }: Interface, missing: bigint): Buffer {
  const data = Buffer.from((Reflect.get(event, 'data') as string | null) ?? '', 'base64');
  const body = Buffer.alloc(20 + padded(data.length));
  body.writeUInt32BE(number, 0);
  body.writeBigUInt64BE(lastTime, 4);
  body.writeUInt32BE(data.length, 12);
  body.writeUInt32BE(Number(Reflect.get(event, 'packetBytes')), 16);
  data.copy(body, 20);
  const flags = Buffer.alloc(4);
  flags.writeUInt32BE(directions[String(Reflect.get(event, 'packetDirection'))] ?? 0);
  const { pid, comm } = event.process;
  return block(
    PACKET,
    body,
    ...(pid === 0 ? [] : [text(COMMENT, `${comm}, pid ${pid}`)]),
    option(PACKET_FLAGS, flags),
    ...(missing === 0n ? [] : [option(PACKET_DROPS, wide(missing))]),
  );
}

/** Of the first interface: which one the missing packets were of, nobody knows. */
function statisticsBlock({ number, lastTime }: Interface, packets: number, ending: ExportEnd): Buffer {
  const body = Buffer.alloc(12);
  body.writeUInt32BE(number, 0);
  body.writeBigUInt64BE(lastTime, 4);
  const missing = missingOf(ending);
  return block(
    STATISTICS,
    body,
    ...(ending.complete ? [] : [text(COMMENT, 'not complete: packets are missing')]),
    option(STATISTICS_RECEIVED, wide(BigInt(packets) + missing)),
    option(STATISTICS_DROPS, wide(missing)),
  );
}

function wide(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

const padded = (length: number): number => (length + 3) & ~3;

function text(code: number, value: string): Buffer {
  const bytes = Buffer.alloc(TEXT_BYTES);
  // Whole characters only.
  return option(code, bytes.subarray(0, encoder.encodeInto(value, bytes).written));
}

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + padded(value.length));
  bytes.writeUInt16BE(code, 0);
  bytes.writeUInt16BE(value.length, 2);
  value.copy(bytes, 4);
  return bytes;
}

/** A block has its length at both ends. */
function block(type: number, body: Buffer, ...options: readonly Buffer[]): Buffer {
  const content = Buffer.concat([body, ...options, option(END, Buffer.alloc(0))]);
  const bytes = Buffer.alloc(12 + content.length);
  bytes.writeUInt32BE(type, 0);
  bytes.writeUInt32BE(bytes.length, 4);
  content.copy(bytes, 8);
  bytes.writeUInt32BE(bytes.length, bytes.length - 4);
  return bytes;
}
