import { describe, expect, it } from 'vitest';
import { columnsAmong, planAggregate, type AggregateQuestion } from './plan.js';
import { conditionOf } from './condition.js';
import * as flux from './flux.js';
import * as influxql from './influxql.js';
import { rollupInput } from './rollup.js';
import { parseInput } from '../../filter/index.js';
import { catalog, fields } from '../../../test/support/influx.js';

const exec = catalog.need('exec');
const range = {
  trackers: [exec],
  from: 1_000_000_000_000_000_000n,
  to: 1_000_000_060_000_000_000n,
  sessions: ['abc'],
  filter: null,
};
const sqlOf = (where: object) =>
  conditionOf(parseInput(where, fields, ['exec']), columnsAmong([exec]), influxql.influxql);
const fluxOf = (where: object) => conditionOf(parseInput(where, fields, ['exec']), columnsAmong([exec]), flux.flux);
const ask = (own: Partial<AggregateQuestion> = {}): AggregateQuestion => ({
  ...range,
  source: 'RAW',
  groupBy: ['errno'],
  measures: [],
  windowMs: null,
  ...own,
});

const hostile = [
  `' OR 1=1 --`,
  `\\' OR 1=1 --`,
  `"; DROP SERIES`,
  '${r.secret}',
  '")) |> drop()',
  'a\nb',
  '/ OR /',
  '\\',
];

/** Takes all texts and patterns out of a query: what is left must not depend on them. Reads them as the language's scanner does. */
function withoutTexts(query: string, quote: string): string {
  let out = '';
  for (let i = 0; i < query.length; i++) {
    const c = query.charAt(i);
    if (!quote.includes(c)) {
      out += c;
      continue;
    }
    for (i++; query.charAt(i) !== c; i++) {
      if (i >= query.length) throw new Error(`a text does not end: ${query}`);
      if (query.charAt(i) === '\\') i++;
    }
    out += '…';
  }
  return out;
}

describe('a hostile value', () => {
  it.each(hostile)('%j stays a value in InfluxQL', (value) => {
    const where = (text: string) => ({
      exec: { filename: { eq: text }, errno: { isNull: true } },
      container: { name: { in: [text, `${text}x`] }, image: { prefix: text } },
    });
    const plan = (text: string) =>
      influxql.eventsText({
        ...range,
        tracker: exec,
        sessions: [text],
        filter: parseInput(where(text), fields, ['exec']),
        places: null,
        backwards: false,
        limit: 10,
      })?.text ?? '';
    expect(withoutTexts(plan(value), `'"/`)).toBe(withoutTexts(plan('plain'), `'"/`));
  });

  it.each(hostile)('%j stays a value in Flux', (value) => {
    const where = (text: string) => ({
      exec: { filename: { eq: text } },
      container: { name: { in: [text, `${text}x`] }, image: { prefix: text } },
    });
    const plan = (text: string) =>
      flux.eventsText(text, {
        ...range,
        tracker: exec,
        sessions: [text],
        filter: parseInput(where(text), fields, ['exec']),
        places: null,
        backwards: false,
        limit: 10,
      })?.text ?? '';
    expect(withoutTexts(plan(value), '"')).toBe(withoutTexts(plan('plain'), '"'));
    expect(plan(value).replaceAll('\\${', '')).not.toContain('${'); // Flux puts values into texts there
  });
});

describe('a filter', () => {
  it('is said in InfluxQL, negations inside', () => {
    expect(sqlOf({ not: { or: [{ exec: { errno: { eq: 'ENOENT' } } }, { process: { pid: { lt: 7 } } }] } })).toEqual({
      text: `(("tracker" != 'exec' OR "errno" != 'ENOENT') AND "process_pid" >= 7)`,
      unsaid: [],
    });
    expect(sqlOf({ exec: { errno: { ne: 'ENOENT' } } }).text).toBe(
      `("tracker" = 'exec' AND ("errno" != 'ENOENT' AND "errno" != ''))`,
    );
    expect(sqlOf({ container: { name: { glob: 'web-?*' } } }).text).toBe(
      '("container_name" =~ /^(?s:web\\x{2d}(?:\\x{2426}.|[^\\x{2426}]).*)$/ AND "container_name" != \'\')',
    );
  });

  it.each(['^/bin/(a|b)', '\\Qx\\', 'a/', '(?s:.)', '[/]'])(
    'never carries the regular expression %j of a client into a query',
    (regex) => {
      for (const say of [sqlOf, fluxOf]) {
        const { text, unsaid } = say({ exec: { filename: { regex } }, container: { name: { regex } } });
        expect([...unsaid].sort()).toEqual(['container.name', 'filename']);
        expect(text).not.toMatch(/~|regexp/);
      }
    },
  );

  it('takes more in InfluxQL where it cannot be said, never less, and tells what', () => {
    expect(sqlOf({ exec: { args: { has: '-x' } }, process: { pid: { eq: 1 } } })).toEqual({
      text: `("tracker" = 'exec' AND "process_pid" = 1)`,
      unsaid: ['args'],
    });
    expect(sqlOf({ or: [{ exec: { cwd: { isNull: true } } }, { process: { pid: { eq: 1 } } }] })).toEqual({
      text: `("tracker" = 'exec' OR "process_pid" = 1)`,
      unsaid: ['cwd'],
    });
    expect(sqlOf({ not: { exec: { cwd: { eq: '/' } } } })).toEqual({ text: true, unsaid: ['cwd'] });
  });

  it('is said in Flux, where a value that is absent can be asked for', () => {
    expect(fluxOf({ not: { exec: { cwd: { eq: '/' } } } })).toEqual({
      text: '((not exists r["tracker"] or not (r["tracker"] == "exec")) or (not exists r["cwd"] or not (r["cwd"] == "/")))',
      unsaid: [],
    });
    expect(fluxOf({ exec: { filename: { prefix: '/a.b' } } }).text).toContain(
      'regexp.matchRegexpString(r: regexp.compile(v: "^(?s:\\\\x{2f}a\\\\x{2e}b)"), v: r["filename"])',
    );
    // A word of the language inside a value is none.
    expect(fluxOf({ exec: { filename: { in: ['a AND b', 'c'] } } }).text).toContain('"a AND b"');
  });
});

describe('an aggregate', () => {
  it('of events that stand for many each is not one of points', () => {
    const kernelAggregate = { count: 'count', totals: {} };
    const aggregating = { ...exec, kernelAggregate };
    expect(() => planAggregate(ask({ trackers: [aggregating] }))).toThrow(/measures: an event of exec stands for many/);
    expect(rollupInput(catalog.need('exit')).input.measures.map(({ fn }) => fn)).toEqual([
      'COUNT',
      'SUM',
      'MIN',
      'MAX',
      'QUANTILE',
    ]);
    expect(rollupInput({ ...catalog.need('exit'), kernelAggregate }).input.measures.map(({ fn }) => fn)).toEqual([
      'COUNT',
      'SUM',
    ]);
  });

  it('is one statement of InfluxQL', () => {
    const plan = planAggregate(
      ask({
        windowMs: 10_000,
        measures: [
          { name: 'd', fn: 'DISTINCT', field: 'process.uid', q: 0, unit: null, time: false },
          { name: 'p', fn: 'QUANTILE', field: 'process.pid', q: 0.5, unit: null, time: false },
        ],
      }),
    );
    expect(influxql.aggregateText(plan)?.text).toBe(
      'SELECT COUNT("seq") AS p0, COUNT(DISTINCT("process_uid")) AS p1, PERCENTILE("process_pid", 50) AS p2 FROM "eunomia_exec" ' +
        (`WHERE time >= 1000000000000000000 AND time < 1000000060000000000 AND "session" = 'abc' GROUP BY ` +
          '"errno", time(10000ms) fill(none) SLIMIT 20001'),
    );
  });

  it('reads rollups as sums of sums', () => {
    const exit = catalog.need('exit');
    const plan = planAggregate(
      ask({
        trackers: [exit],
        source: 'ROLLUP',
        groupBy: ['signal'],
        measures: [{ name: 'a', fn: 'AVG', field: 'lifetimeNs', q: 0, unit: null, time: false }],
      }),
    );
    expect(influxql.aggregateText(plan)?.text).toContain(
      'SELECT SUM("count") AS p0, SUM("sum_lifetimeNs") AS p1, SUM("count_lifetimeNs") AS p2 FROM "eunomia_rollup_exit"',
    );
  });

  it.each<[Partial<AggregateQuestion>, RegExp]>([
    [
      { groupBy: ['process.comm'] },
      /groupBy\[0\]: InfluxDB groups by tags, and "process.comm" is a field there; group by "tracker"/,
    ],
    [
      { measures: [{ name: 't', fn: 'TOP_K', field: 'filename', q: 0, unit: null, time: false }] },
      /measures\[0\].fn: InfluxDB cannot compute TOP_K/,
    ],
    [
      { measures: [{ name: 's', fn: 'SUM', field: 'filename', q: 0, unit: null, time: false }] },
      /measures\[0\].field: "filename" is no number in InfluxDB/,
    ],
    [
      {
        source: 'ROLLUP',
        measures: [{ name: 'q', fn: 'QUANTILE', field: 'process.pid', q: 0.5, unit: null, time: false }],
      },
      /a QUANTILE cannot be made of rollups/,
    ],
    [{ from: 0n }, /the range is \d+ days long; InfluxDB is asked for 366 days at most/],
    [{ from: range.to }, /is not after `from`/],
    [{ windowMs: 1 }, /the range has 60,000 windows of it; at most 10,000/],
  ])('%# is refused, with what would be right', (own, message) =>
    expect(() => planAggregate(ask(own))).toThrow(message),
  );
});
