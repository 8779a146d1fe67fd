import { describe, expect, it } from 'vitest';
import { CallTimer, ownThread, threadCpuMs } from './cpu.js';
import { compilePluginView, strictView } from './view.js';
import { placeAt } from '../record/place.js';
import type { TraceEvent } from '../event/event.js';
import { eventWith } from '../../test/support/event.js';

const paths = {
  declared: ['path', 'process.pid', 'container.id', 'container.labels'],
  undeclared: ['errno', 'process.comm', 'container.name', 'cgroupId'],
};
const View = compilePluginView('open', paths);
const event = eventWith('open', {
  path: '/a',
  errno: null,
  process: { pid: 7, comm: 'sh' },
  container: { id: 'c', name: 'web', labels: { tier: 'x' } },
});
const read = (view: object, name: string, inner?: string): unknown => {
  const value: unknown = Reflect.get(view, name);
  return inner === undefined || value === null || typeof value !== 'object' ? value : Reflect.get(value, inner);
};

describe('an event as a plugin has it', () => {
  const view = new View(event);

  it('has the declared fields, and is JSON of just these', () => {
    expect(read(view, 'tracker')).toBe('open');
    expect(read(view, 'path')).toBe('/a');
    expect(read(view, 'process', 'pid')).toBe(7);
    expect(read(view, 'container', 'labels')).toEqual({ tier: 'x' });
    expect(JSON.parse(JSON.stringify(view))).toEqual({
      tracker: 'open',
      path: '/a',
      process: { pid: 7 },
      container: { id: 'c', labels: { tier: 'x' } },
    });
  });

  it.each([['errno'], ['cgroupId'], ['process', 'comm'], ['container', 'name']])(
    'refuses %s %s, which is not declared, with what would be right',
    (name, inner?: string) => {
      expect(() => read(view, name, inner)).toThrow(
        `reads "${inner === undefined ? name : `${name}.${inner}`}" of the tracker open and does not declare it: add it to reads.open`,
      );
    },
  );

  it('has the id of its event, which is no part of its JSON', () => {
    const placed = new View(placeAt({ ...event }, { session: 's', seq: 7 }));
    expect(read(placed, 'id')).toBe('event:s:7');
    expect(read(strictView(placed, 'open', paths), 'id')).toBe('event:s:7');
    expect(JSON.parse(JSON.stringify(placed))).not.toHaveProperty('id');
    expect(read(view, 'id')).toBeNull();
  });

  it('leads back to its event, for an alert', () => {
    expect(View.eventOf(view)).toBe(event);
    expect(View.eventOf({})).toBeNull();
  });

  it('is null where the event has no container', () => {
    expect(read(new View({ ...event, container: null }), 'container')).toBeNull();
  });
});

describe('an event in a test of a plugin', () => {
  const strict = strictView(new View(event), 'open', paths);

  it('reads as one outside of a test', () => {
    expect([read(strict, 'tracker'), read(strict, 'path'), read(strict, 'process', 'pid')]).toEqual(['open', '/a', 7]);
    expect(JSON.parse(JSON.stringify(strict))).toMatchObject({ path: '/a', process: { pid: 7 } });
  });

  it.each([
    ['pth', undefined, 'have no field "pth"; did you mean "path"'],
    ['process', 'pidd', 'have no field "process.pidd"'],
    ['errno', undefined, 'does not declare it'],
    ['process', 'comm', 'does not declare it'],
  ])('refuses %s %s: %s', (name, inner, message) => {
    expect(() => read(strict, name, inner)).toThrow(message);
  });

  it('refuses a declared field that the recorded event lacks', () => {
    const { path: _, ...rest } = event as TraceEvent & { path: string };
    expect(() => read(strictView(new View(rest as TraceEvent), 'open', paths), 'path')).toThrow(
      'the recorded open event has no "path", which the plugin reads: record it too',
    );
  });
});

describe('the time of a call', () => {
  const elapse = (ms: number): void => {
    const end = performance.now() + ms;
    while (performance.now() < end);
  };

  it('is not over while the thread waits for its processor, however long', () => {
    let cpu = 0;
    const timer = new CallTimer(5, () => cpu);
    timer.start();
    for (let i = 0; i < 5; i++) {
      elapse(6);
      expect(timer.isOver()).toBe(false);
    }
    cpu = 5;
    elapse(6);
    expect(timer.isOver()).toBe(true);
  });

  it('goes by the clock where the kernel does not tell of processor time', () => {
    const timer = new CallTimer(5, () => null);
    timer.start();
    expect(timer.isOver()).toBe(false);
    elapse(6);
    expect(timer.isOver()).toBe(true);
    timer.stop();
    expect(timer.isOver()).toBe(false);
  });

  it('is measured by the kernel, of this thread and of another', () => {
    const thread = ownThread();
    expect(thread).toBeGreaterThan(0);
    const before = threadCpuMs('own') ?? Number.NaN;
    elapse(50);
    expect(threadCpuMs('own')).toBeGreaterThan(before);
    expect(threadCpuMs(thread ?? 0)).toBeGreaterThan(before);
    expect(threadCpuMs(2 ** 30)).toBeNull();
  });
});
