import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { deviceName } from './device.js';

it('names devices with fixed numbers, and no others', () => {
  expect(deviceName('CHARACTER', 1, 3)).toBe('null');
  expect(deviceName('CHARACTER', 10, 200)).toBe('net/tun');
  expect(deviceName('CHARACTER', 137, 2)).toBe('pts/258');
  expect(deviceName('BLOCK', 8, 0)).toBe('sda');
  expect(deviceName('BLOCK', 8, 255)).toBe('sdp15');
  for (const [type, major, minor] of [
    ['CHARACTER', 1, 6],
    ['BLOCK', 1, 1],
    ['BLOCK', 254, 0],
    ['CHARACTER', 8, 0],
  ] as const)
    expect(deviceName(type, major, minor)).toBe(type === 'BLOCK' && major === 1 ? 'ram1' : null);
});

it('names the devices of this machine as they are named in /dev', () => {
  const found = readdirSync('/dev').flatMap((name) => {
    const { rdev, mode } = statSync(join('/dev', name), { throwIfNoEntry: false }) ?? {};
    if (rdev === undefined || mode === undefined || ![0o020000, 0o060000].includes(mode & 0o170000)) return [];
    const major = (rdev >> 8) & 0xfff;
    const minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
    const known = deviceName((mode & 0o170000) === 0o060000 ? 'BLOCK' : 'CHARACTER', major, minor);
    return known === null ? [] : [[known, name]];
  });
  expect(found.length).toBeGreaterThan(5);
  expect(found.filter(([known, name]) => known !== name)).toEqual([]);
});
