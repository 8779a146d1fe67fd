import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { after, orAborted } from './timer.js';

const DAY = 86_400_000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a timer', () => {
  it('fires once its time is up, and once only', () => {
    const then = vi.fn<() => void>();
    after(1000, then);
    vi.advanceTimersByTime(999);
    expect(then).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    vi.advanceTimersByTime(10_000);
    expect(then).toHaveBeenCalledOnce();
  });

  it.each([24, 25, 30, 60])('waits %i days, longer than setTimeout can', (days) => {
    const then = vi.fn<() => void>();
    after(days * DAY, then);
    vi.advanceTimersByTime(days * DAY - 1);
    expect(then).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(then).toHaveBeenCalledOnce();
  });

  it('can be called off, also after days', () => {
    const then = vi.fn<() => void>();
    const callOff = after(40 * DAY, then);
    vi.advanceTimersByTime(30 * DAY);
    callOff();
    vi.advanceTimersByTime(30 * DAY);
    expect(then).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('fires soon when its time is past', () => {
    const then = vi.fn<() => void>();
    after(-5, then);
    vi.advanceTimersByTime(1);
    expect(then).toHaveBeenCalledOnce();
  });
});

describe('a wait that a signal ends', () => {
  it('leaves nothing at a signal that lasts longer, whatever becomes of the work', async () => {
    const { signal } = new AbortController();
    await orAborted(Promise.resolve(), signal);
    await expect(orAborted(Promise.reject(new Error('broken')), signal)).rejects.toThrow('broken');
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('ends with the signal while the work goes on', async () => {
    const hurry = new AbortController();
    const wait = orAborted(new Promise(() => {}), hurry.signal);
    hurry.abort();
    expect(await wait).toBeUndefined();
  });
});
