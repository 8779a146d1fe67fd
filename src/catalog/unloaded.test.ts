import { expect, it } from 'vitest';
import { defineTracker } from '../tracker/define.js';
import { blindSpotsWithout, refusals } from './unloaded.js';

const definition = defineTracker({
  name: 'sample',
  minimumKernel: '5.12',
  blindSpots: [],
  optional: { new_way: [1], old_way: [2], other: [3] },
  blindWithout: [
    { programs: ['new_way', 'old_way'], what: 'What is done', lacking: 'this kernel has no tracepoint for it' },
    { programs: ['other'], what: 'Others', lacking: 'this kernel has no tracepoint for them' },
  ],
});

it('a tracker lacks nothing while one of the programs that do the same is loaded', () => {
  const refused = [{ program: 'new_way', errno: 'EACCES' }];
  expect(blindSpotsWithout(definition, { missing: [], refused: [] })).toEqual([]);
  expect(blindSpotsWithout(definition, { missing: ['new_way'], refused: [] })).toEqual([]);
  expect(blindSpotsWithout(definition, { missing: [], refused })).toEqual([]);
});

it('a hook that the kernel lacks is told as such', () => {
  expect(blindSpotsWithout(definition, { missing: ['old_way', 'new_way'], refused: [] })).toEqual([
    'What is done: this kernel has no tracepoint for it.',
  ]);
  expect(refusals(definition, { missing: ['old_way', 'new_way'], refused: [] })).toEqual([]);
});

it("a program that the verifier refuses is told first, and as the tracker's fault", () => {
  const unloaded = { missing: ['old_way', 'other'], refused: [{ program: 'new_way', errno: 'EACCES' }] };
  const [fault, lack, ...more] = blindSpotsWithout(definition, unloaded);
  expect(fault).toMatch(
    /^What is done: the kernel's verifier refused the program new_way \(EACCES\)\. This is a fault of/,
  );
  expect(fault).not.toContain('no tracepoint');
  expect(lack).toBe('Others: this kernel has no tracepoint for them.');
  expect(more).toEqual([]);
  expect(refusals(definition, unloaded)).toEqual([fault]);
});
