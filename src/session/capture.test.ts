import { beforeAll, describe, expect, it } from 'vitest';
import type { CaptureMode } from '../event/event.js';
import { createRuntime, type TrackerRuntime } from '../record/runtime.js';
import exec from '../trackers/exec.js';
import open from '../trackers/open.js';
import { Capture } from './capture.js';

let trackers: TrackerRuntime[];
beforeAll(async () => {
  trackers = [exec, open].map(createRuntime);
});

const demand = (tracker: string, ...fields: string[]) => new Map([[tracker, new Set(fields)]]);

function captureOf(capture: CaptureMode, fields: readonly string[] = []) {
  const told: [object: number, fields: boolean][] = [];
  const made = new Capture({ capture, fields, where: null }, trackers, (object, mask) =>
    told.push([object, mask !== 0n]),
  );
  return { capture: made, told };
}

describe('a session that captures what is demanded', () => {
  it('captures what its readers select for as long as they read, and tells of each change once', () => {
    const { capture, told } = captureOf('DEMANDED');
    expect([capture.masks, capture.fields()]).toEqual([[0n, 0n], []]);
    const first = capture.add(demand('exec', 'args', 'time'));
    expect(capture.fields().sort()).toEqual(['args', 'argsTruncated']);
    const second = capture.add(demand('exec', 'args'));
    first();
    first();
    expect(capture.fields().sort()).toEqual(['args', 'argsTruncated']);
    second();
    expect([capture.masks, capture.fields()]).toEqual([[0n, 0n], []]);
    expect(told).toEqual([
      [0, true],
      [0, false],
    ]);
  });

  it('takes readers that share a demand for two', () => {
    const { capture } = captureOf('DEMANDED');
    const same = demand('exec', 'filename');
    const [first, second] = [capture.add(same), capture.add(same)];
    first();
    expect(capture.fields()).toEqual(['filename']);
    second();
    expect(capture.fields()).toEqual([]);
  });

  it('tells a source of what changed while it was being opened, and of nothing else', () => {
    const { capture, told } = captureOf('DEMANDED');
    const opened = capture.masks;
    capture.add(demand('exec', 'args'));
    const release = capture.add(demand('open', 'path'));
    release();
    told.length = 0;
    capture.catchUp(opened);
    expect(told).toEqual([[0, true]]);
  });

  it('captures fields that it was told to, and tells only the object that a demand is about', () => {
    const { capture, told } = captureOf('DEMANDED', ['filename']);
    expect(capture.fields()).toEqual(['filename']);
    const release = capture.add(demand('open', 'path'));
    expect(told).toEqual([[1, true]]);
    expect(capture.fields()).toEqual(['filename', 'path']);
    release();
    expect(capture.fields()).toEqual(['filename']);
  });
});

it('ALL captures everything from the start, whoever reads', () => {
  const { capture, told } = captureOf('ALL');
  expect(capture.masks).toEqual(trackers.map(({ allCaptures }) => allCaptures));
  capture.add(demand('open', 'stack'))();
  expect(told).toEqual([]);
});

it('DEFAULT captures from the start what is not costly, and that for those who select it', () => {
  const { capture, told } = captureOf('DEFAULT');
  expect(capture.masks).toEqual(trackers.map(({ usualCaptures }) => usualCaptures));
  expect(capture.fields()).toEqual(expect.arrayContaining(['args', 'path', 'resolved']));
  expect(capture.fields()).not.toContain('stack');
  capture.add(demand('exec', 'args'))();
  expect(told).toEqual([]);
  const release = capture.add(demand('open', 'stack'));
  expect(capture.fields()).toContain('stack');
  release();
  expect(capture.fields()).not.toContain('stack');
});
