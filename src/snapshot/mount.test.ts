import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { finish } from '../base/turn.js';
import { textOfBytes } from '../base/bytes.js';
import { eventWith } from '../../test/support/event.js';
import { holdsFor } from '../../test/support/property.js';
import { namespacesOf, parseMounts, quickestFirst } from './mount.js';

/** As fs/seq_file.c does. */
function mangled(bytes: Uint8Array, escaped: string): Buffer {
  const parts = [...bytes].map((byte) =>
    escaped.includes(String.fromCharCode(byte))
      ? Buffer.from(`\\${byte.toString(8).padStart(3, '0')}`)
      : Buffer.from([byte]),
  );
  return Buffer.concat(parts);
}

const name = fc
  .array(
    fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 255 }) }, fc.constantFrom(...Buffer.from(' \n\t\\#,-'))),
    {
      minLength: 1,
      maxLength: 40,
    },
  )
  .map((bytes) => Uint8Array.from(bytes));

const one = (line: string | Buffer) => finish(parseMounts(Buffer.from(line)))[0];

describe('mountinfo', () => {
  it.each([
    [
      '36 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw,errors=continue',
      { propagation: 'PRIVATE', peerGroup: null, masterGroup: null, readOnly: false },
    ],
    [
      '36 35 98:0 / / ro shared:7 - ext3 /dev/root rw',
      { propagation: 'SHARED', peerGroup: 7, masterGroup: null, readOnly: true },
    ],
    [
      '36 35 98:0 / / rw master:2 propagate_from:9 - ext3 /dev/root ro',
      { propagation: 'SLAVE', peerGroup: null, masterGroup: 2, readOnly: true },
    ],
    [
      '36 35 98:0 / / rw shared:3 master:2 - fuse.sshfs host: rw',
      { propagation: 'SHARED_SLAVE', peerGroup: 3, masterGroup: 2, fsType: 'fuse.sshfs' },
    ],
    [
      '36 35 98:0 / / rw unbindable - tmpfs none rw,size=4k',
      { propagation: 'UNBINDABLE', fsOptions: ['rw', 'size=4k'], source: 'none' },
    ],
    [
      '36 35 0:4 net:[4026531840] /run/netns/x rw - nsfs nsfs rw',
      { root: 'net:[4026531840]', device: '0:4', target: '/run/netns/x' },
    ],
    [
      '36 35 0:4 / /mnt rw,nosuid - overlay  rw,lowerdir=/a\\054b',
      { source: '', mountFlags: ['rw', 'nosuid'], fsOptions: ['rw', 'lowerdir=/a,b'] },
    ],
  ])('%s', (line, expected) => {
    expect(one(line)).toMatchObject({ mountId: 36, parentId: 35, ...expected });
  });

  it('keeps names that are written to mislead, whatever bytes they have', async () => {
    await holdsFor(
      fc.property(fc.array(fc.tuple(name, name, name), { minLength: 1, maxLength: 5 }), (all) => {
        const lines = all.map(([root, target, source], i) =>
          Buffer.concat([
            Buffer.from(`${i} 1 0:${i} `),
            mangled(root, ' \t\n\\'),
            Buffer.from(' '),
            mangled(target, ' \t\n\\'),
            Buffer.from(' rw shared:1 - tmpfs '),
            mangled(source, ' \t\n\\#'),
            Buffer.from(' rw\n'),
          ]),
        );
        expect(finish(parseMounts(Buffer.concat(lines)))).toMatchObject(
          all.map(([root, target, source], mountId) => ({
            mountId,
            root: textOfBytes(root),
            target: textOfBytes(target),
            source: textOfBytes(source),
            fsType: 'tmpfs',
          })),
        );
      }),
    );
  });

  it('leaves out what is no mount', () => {
    expect(finish(parseMounts(Buffer.from('\n36 35\n36 35 98:0 / / rw - \nx y 98:0 / / rw - ext3 a rw\n')))).toEqual(
      [],
    );
  });
});

it('finds the processes of each mount namespace', () => {
  const row = (pid: number, mountNs: string | null) => eventWith('exec', { process: { pid, mountNs } });
  const rows = [row(1, '20'), row(2, '10'), row(3, null), row(4, '20')];
  expect(
    finish(namespacesOf(rows)).map(({ mountNs, processes }) => [mountNs, processes.map(({ process }) => process.pid)]),
  ).toEqual([
    ['10', [2]],
    ['20', [1, 4]],
  ]);
});

it('takes what takes long behind all others, and nothing once the time for all is over', async () => {
  const takes: Readonly<Record<string, number>> = { slow: 20, hopeless: 1_000, quick: 1, other: 1 };
  const asked: [string, number][] = [];
  const take = async (name: string, mostMs: number): Promise<boolean> => {
    asked.push([name, mostMs]);
    return (takes[name] ?? 0) <= mostMs;
  };
  const names = Object.keys(takes);
  const patience = { atOnce: 1, quickMs: 10, mostMs: 50, allMs: 60_000 };
  expect(await quickestFirst(names, take, patience)).toBe(false);
  expect(asked).toEqual([...names.map((name) => [name, 10]), ['slow', 50], ['hopeless', 50]]);
  expect(await quickestFirst(['slow', 'quick'], take, patience)).toBe(true);
  asked.length = 0;
  expect(await quickestFirst(names, take, { ...patience, allMs: -1 })).toBe(false);
  expect(asked).toEqual([]);
});
