import { expect, it } from 'vitest';
import { PacketCounter } from './packet-counter.js';

function block(type: number, bytes: number): Buffer {
  const made = Buffer.alloc(bytes, 6);
  made.writeUInt32BE(type, 0);
  made.writeUInt32BE(bytes, 4);
  return made;
}

const file = Buffer.concat([0x0a0d0d0a, 1, 6, 6, 5, 6].map((type, i) => block(type, 12 + 4 * i)));

it.each([1, 2, 7, 8, 9, 13, 1000])('counts the packets of a file that comes in pieces of %d bytes', (size) => {
  const counter = new PacketCounter();
  for (let at = 0; at < file.length; at += size) counter.add(file.subarray(at, at + size));
  expect(counter.packets).toBe(3);
});

it('ends where a block says that it is shorter than its head', () => {
  const counter = new PacketCounter();
  const wrong = block(6, 12);
  wrong.writeUInt32BE(0, 4);
  counter.add(wrong);
  expect(counter.packets).toBe(1);
});
