import { describe, expect, it } from 'vitest';
import type { TraceEvent } from '../event/event.js';
import { readPcapng } from '../../test/support/pcap.js';
import { pcapng } from './pcapng.js';

const container = { id: 'c'.repeat(64), name: 'web', image: 'nginx:1' };
const data = Buffer.from('4500001c000040000111', 'hex');
const packet = {
  tracker: 'packet',
  time: '2026-01-31T08:15:30.123456789Z',
  process: { pid: 7, comm: 'größe' },
  container,
  packetDirection: 'SENT',
  packetBytes: 28,
  data: data.toString('base64'),
};
const events = (...changes: readonly object[]) =>
  changes.map((change) => ({ ...packet, ...change })) as unknown as readonly TraceEvent[];
const gap = { from: packet.time, to: packet.time, lost: 3, dropped: 4, where: 'KERNEL' } as const;
const ending = { items: 2, lost: 3, dropped: 4, complete: false, state: 'STOPPED' };

function written(...steps: readonly (readonly [readonly TraceEvent[], typeof gap | null])[]) {
  const encoder = pcapng({ version: '1.2.3', kernel: '6.18.0' });
  const pieces = [encoder.head(), ...steps.map(([some, before]) => encoder.items(some, before)), encoder.end(ending)];
  return readPcapng(Buffer.concat(pieces.map((piece) => Buffer.from(piece as Uint8Array))));
}
const uint64 = (bytes: Buffer | undefined) => bytes?.readBigUInt64BE();

describe('a file of packets', () => {
  it('has each packet with its time, bytes, direction and process, and an interface for each container', () => {
    const { packets, linkType, section, interfaces } = written([
      events({}, { container: null, packetDirection: 'RECEIVED', process: { pid: 0, comm: '' } }, {}),
      null,
    ]);
    expect(linkType).toBe(101);
    expect([section.get(3), section.get(4)].map(String)).toEqual(['Linux 6.18.0', 'Eunomia 1.2.3']);
    expect(interfaces.map((options) => [2, 3, 9].map((code) => options.get(code)?.toString()))).toEqual([
      ['web', `container ${container.id}, nginx:1`, '\t'],
      ['host', undefined, '\t'],
    ]);
    expect(packets.map(({ device }) => device)).toEqual(['web', 'host', 'web']);
    for (const { time, bytes, length } of packets)
      expect([time, bytes, length]).toEqual([1769847330123456789n, data, 28]);
    expect(packets.map(({ options }) => options.get(1)?.toString())).toEqual([
      'größe, pid 7',
      undefined,
      'größe, pid 7',
    ]);
    expect(packets.map(({ options }) => options.get(2)?.readUInt32BE())).toEqual([2, 1, 2]);
  });

  it('tells what is missing before a packet, and of all of them', () => {
    const { packets, statistics } = written([events({}), null], [[], gap], [events({}, {}), null]);
    expect(packets.map(({ options }) => uint64(options.get(4)))).toEqual([undefined, 7n, undefined]);
    expect([uint64(statistics?.get(4)), uint64(statistics?.get(5))]).toEqual([10n, 7n]);
    expect(String(statistics?.get(1))).toMatch(/not complete/);
  });

  it('leaves out events of other trackers, and has packets of which nothing was captured', () => {
    const { packets } = written([events({ tracker: 'exec' }, { data: null }), null]);
    expect(packets.map(({ bytes, length }) => [bytes.length, length])).toEqual([[0, 28]]);
  });

  it('has names of containers as long as they come', () => {
    const name = '€'.repeat(10_000);
    const { interfaces } = written([events({ container: { ...container, name, image: null } }), null]);
    expect(String(interfaces[0]?.get(2))).toBe('€'.repeat(170)); // 510 bytes: UTF-8 is not cut within a character
  });

  it('has an interface and what is missing without packets, too', () => {
    const { packets, interfaces, statistics } = written([[], gap]);
    expect(packets).toEqual([]);
    expect(interfaces.map((options) => options.get(2)?.toString())).toEqual(['host']);
    expect([uint64(statistics?.get(4)), uint64(statistics?.get(5))]).toEqual([7n, 7n]);
  });
});
