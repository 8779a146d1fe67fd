import { afterEach, describe, expect, it, vi } from 'vitest';
import { turns } from '../../base/turn.js';
import { createLog } from '../../base/log.js';
import type { MetricFamily } from '../../event/metric.js';
import { Metrics } from './exposition.js';

afterEach(() => vi.restoreAllMocks());

const OPEN = 'application/openmetrics-text';
const SERIES = 1_200;

function counter(from: number, to: number): MetricFamily {
  const samples = Array.from({ length: to - from }, (_, i) => ({
    labels: { container: `web-${from + i}` },
    value: from + i,
  }));
  return { name: 'eunomia_test_total', type: 'counter', help: 'A test.', samples };
}

function histogram(from: number, to: number): MetricFamily {
  const samples = Array.from({ length: to - from }, (_, i) => ({
    labels: { container: `web-${from + i}` },
    counts: [1, 2, from + i],
    sum: from + i,
  }));
  return { name: 'eunomia_test_seconds', type: 'histogram', help: 'A test.', bounds: [0.1, 1], samples };
}

async function textOf(family: MetricFamily, accept: string): Promise<string> {
  const metrics = new Metrics(createLog('silent'));
  metrics.add({ metrics: () => [family] });
  return (await metrics.expose(accept)).body;
}

/** The lines of the family's samples. */
async function linesOf(family: MetricFamily, accept: string): Promise<string[]> {
  const name = family.name.replace(/_total$/, '');
  return (await textOf(family, accept)).split('\n').filter((line) => line.startsWith(name));
}

describe('the text of a large metric', () => {
  it.each([
    ['a counter', counter, ''],
    ['a counter', counter, OPEN],
    ['a histogram', histogram, ''],
    ['a histogram', histogram, OPEN],
  ])('is written in turns, %s, and is that of its parts with one head', async (_what, make, accept) => {
    const parts: string[] = [];
    for (let from = 0; from < SERIES; from += 25) parts.push(...(await linesOf(make(from, from + 25), accept)));
    vi.spyOn(turns, 'isOpen', 'get').mockReturnValue(false);
    const next = vi.spyOn(turns, 'next').mockResolvedValue();
    const text = await textOf(make(0, SERIES), accept);
    expect(next.mock.calls.length).toBeGreaterThanOrEqual(3);
    const name = make(0, 1).name.replace(/_total$/, '');
    expect(text.split('\n').filter((line) => line.startsWith(name))).toEqual(parts);
    expect(text.match(/^# HELP eunomia_test/gm)).toHaveLength(1);
    expect(text.match(/^# TYPE eunomia_test/gm)).toHaveLength(1);
    expect(text.match(/^# EOF$/gm)?.length ?? 0).toBe(accept === OPEN ? 1 : 0);
    expect(text.endsWith(accept === OPEN ? '\n# EOF\n' : '\n')).toBe(true);
  });
});
