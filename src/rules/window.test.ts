import { describe, expect, it } from 'vitest';
import { Recent, ThrottleWindow } from './window.js';

describe('what was raised a short time ago', () => {
  it('is forgotten once its time is over, not only when there are too many', () => {
    const recent = new Recent<number>(1000, 10_000);
    for (let i = 0; i < 5000; i++) recent.add(`key ${i}`, i, i * 2000);
    expect(recent.size).toBe(1);
    expect(recent.find('key 4999', 4999 * 2000 + 999)).toBe(4999);
    expect(recent.find('key 4999', 4999 * 2000 + 1000)).toBeNull();
  });

  it('is at most so many, the newest, also where one was found again', () => {
    const recent = new Recent<number>(1000, 2);
    recent.add('a', 1, 0);
    recent.add('b', 2, 1);
    expect(recent.find('a', 2)).toBe(1);
    recent.add('c', 3, 3);
    expect(['a', 'b', 'c'].map((key) => recent.find(key, 4))).toEqual([null, 2, 3]);
  });
});

describe('a throttle', () => {
  it('lets so many through within any time of its length', () => {
    const throttle = new ThrottleWindow(3, 1000);
    const passed = Array.from({ length: 40 }, (_, i) => i * 100).filter((ms) => throttle.take(ms));
    expect(passed).toEqual([0, 100, 200, 1000, 1100, 1200, 2000, 2100, 2200, 3000, 3100, 3200]);
  });
});
