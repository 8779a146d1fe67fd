import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigFile } from '../../src/base/config-file.js';
import { finish } from '../../src/base/turn.js';
import { ExportedMetrics, parseExported, type ExportedConfig } from '../../src/server/configured/index.js';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { root } from '../../src/base/paths.js';
import { createFixture, type Fixture } from './support.js';
import { until } from '../support/until.js';

const SESSION = 'sessions:\n  - name: s\n    trackers: [{ exec: {} }, { open: {} }]\n';
const METRIC = `${SESSION}metrics:\n  - name: opens_total\n    help: Opens.\n    type: counter\n    session: s\n`;

const fixture = await createFixture();

function parse(text: string, { services }: Fixture = fixture): ExportedConfig {
  return parseExported(finish(ConfigFile.of('m.yaml', text, 'BAD_METRICS_CONFIG')), {
    schema: contractSchema(),
    catalog: services.catalog,
    fields: services.fields,
    plugins: services.plugins,
  });
}

describe('a metrics configuration', () => {
  it.each([
    ['YAML that is none', 'metrics: [', 'm.yaml:1:11: '],
    ['a key twice', 'metrics: []\nmetrics: []', 'm.yaml:2:1: Map keys must be unique'],
    [
      'an unknown setting',
      `${METRIC}    groupby: {}\n`,
      'm.yaml:9:5: metrics[0].groupby: there is no such setting; did you mean "groupBy"?',
    ],
    ['an unknown part', 'metric: []', 'm.yaml:1:1: metric: there is no such setting; did you mean "metrics"?'],
    [
      'no session of that name',
      METRIC.replace('session: s', 'session: t'),
      'm.yaml:8:14: metrics[0].session: is to be the name of one of `sessions`: s',
    ],
    [
      'an unknown tracker',
      SESSION.replace('exec: {}', 'exce: {}'),
      'm.yaml:3:24: sessions[0].trackers[0].exce: Field "exce" is not defined by type "TrackerInput". Did you mean "exec"',
    ],
    [
      'an unknown setting of a session',
      `${SESSION}    plugin: []\n`,
      'm.yaml:4:13: sessions[0].plugin: Field "plugin" is not defined by type "StartSessionInput". Did you mean "plugins"',
    ],
    [
      'a plugin that is not there',
      `${SESSION}    plugins: [{ name: none }]\n`,
      'm.yaml:4:15: sessions[0].plugins[0]: there is no plugin "none"',
    ],
    [
      'a plugin twice',
      `${SESSION}    plugins: [{ name: a }, { name: a }]\n`,
      'm.yaml:4:36: sessions[0].plugins[1].name: "a" is there already',
    ],
    [
      'a session without a name',
      'sessions:\n  - trackers: [{ exec: {} }]\n',
      'm.yaml:2:5: sessions[0].name: is missing, for example "host"',
    ],
    [
      'a session that would end',
      `${SESSION}    for: 10s\n`,
      'm.yaml:4:10: sessions[0].for: cannot be set: the session runs as long as the server',
    ],
    [
      'a value out of range',
      `${SESSION}    ringBytes: 1000\n`,
      'm.yaml:4:16: sessions[0].ringBytes: 1000 is out of range',
    ],
    [
      'two sessions of one name',
      `${SESSION}  - name: s\n    trackers: [{ exec: {} }]\n`,
      'm.yaml:4:11: sessions[1].name: "s" is there already, in sessions[0]',
    ],
    [
      'two metrics of one name',
      `${METRIC}${METRIC.slice(METRIC.indexOf('  - name: opens'))}`,
      'metrics[1].name: "opens_total" is there already, in metrics[0]',
    ],
    [
      'a bad name',
      METRIC.replace('opens_total', 'opens-total'),
      'metrics[0].name: "opens-total" is no name of a metric',
    ],
    [
      'a counter that is not called one',
      METRIC.replace('opens_total', 'opens'),
      '"opens" is a counter, whose name ends in _total',
    ],
    ["a name of the server's own", METRIC.replace('opens_total', 'eunomia_events_total'), 'begins with eunomia_'],
    [
      'a bad type',
      METRIC.replace('counter', 'count'),
      'm.yaml:7:11: metrics[0].type: is to be counter, gauge, histogram',
    ],
    [
      'an unknown field',
      `${METRIC}    groupBy: { who: process.com }\n`,
      'm.yaml:9:21: metrics[0].groupBy.who: groupBy: no event of exec, open has the field "process.com"; did you mean "process.comm"',
    ],
    [
      'a label without bound',
      `${METRIC}    groupBy: { who: process.pid }\n`,
      'm.yaml:9:21: metrics[0].groupBy.who: "process.pid" has a value for every process or event',
    ],
    ['a bad label', `${METRIC}    groupBy: { le: process.comm }\n`, 'metrics[0].groupBy.le: is no name of a label'],
    ['a bad filter', `${METRIC}    where: process.comm = "a"\n`, 'm.yaml:9:12: metrics[0].where: where.expr: 1:14:'],
    [
      'a measure that a counter cannot be',
      `${METRIC}    measure: { fn: MAX, field: process.uid }\n`,
      'metrics[0].measure.fn: a counter takes COUNT, SUM',
    ],
    ['a window of a counter', `${METRIC}    window: 60s\n`, 'metrics[0].window: belongs to gauges'],
    [
      'too many series',
      `${METRIC}    maxSeries: 1000000\n`,
      'm.yaml:9:16: metrics[0].maxSeries: is to be a whole number from 1 to 10000',
    ],
  ])('with %s is refused, with the place', (_what, text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  it('with several wrong entries tells each', () => {
    const metric = METRIC.slice(SESSION.length + 'metrics:\n'.length);
    const wrong = metric.replace('session: s', 'session: t');
    expect(() => parse(`${METRIC}${wrong}${metric.replace('opens_total', 'a b')}`)).toThrow(
      /^m\.yaml:12:14: metrics\[1\]\.session: .*\nm\.yaml:13:11: metrics\[2\]\.name: /,
    );
  });

  it('that is shipped for docker is right', async () => {
    const { metrics } = parse(await readFile(join(root, 'docker/eunomia/metrics.yaml'), 'utf8'));
    expect(metrics.length).toBeGreaterThan(2);
  });

  it('may be JSON', () => {
    expect(
      parse('{ "sessions": [{ "name": "s", "trackers": [{ "exec": {} }] }], "metrics": [] }').sessions[0]?.spec.name,
    ).toBe('s');
  });

  it('makes a session and its metrics, with groups beyond the cap as other', async () => {
    const own = await createFixture();
    const text = `${SESSION}    capture: DEMANDED
metrics:
  - { name: all_total, help: All., type: counter, session: s, groupBy: { comm: process.comm }, maxSeries: 2 }
  - { name: failed_total, help: Failed., type: counter, session: s, where: errno != null }
  - { name: sizes, help: Sizes., type: histogram, session: s, measure: { field: process.uid, buckets: [10, 2000] }, scale: 0.5 }
  - { name: users, help: Users., type: gauge, session: s, measure: { fn: DISTINCT, field: process.comm }, window: 1s }
`;
    const exported = new ExportedMetrics(parse(text, own), own.service.sessions, own.services.log);
    await exported.start();
    own.services.metrics.add(exported);
    own.kernel.emit(1000);
    const scrape = async (): Promise<string> => (await own.services.metrics.expose()).body;
    // Each metric reads the session by itself, so they catch up one after the other.
    const caughtUp = ['comm="other"} 500', 'failed_total 334', 'sizes_count 1000'];
    const isCaughtUp = async () => {
      const text = await scrape();
      return caughtUp.every((line) => text.includes(line));
    };
    await until('all is counted', isCaughtUp);
    const body = await scrape();
    expect(
      [...body.matchAll(/^all_total\{comm="([^"]+)"\} (\d+)$/gm)].map(([, comm, count]) => [comm, Number(count)]),
    ).toEqual([
      ['worker-0', 250],
      ['worker-1', 250],
      ['other', 500],
    ]);
    expect(body).toContain(
      'sizes_bucket{le="5"} 0\nsizes_bucket{le="1000"} 1000\nsizes_bucket{le="+Inf"} 1000\nsizes_sum 500000\nsizes_count 1000\n',
    );
    expect(body).toContain('eunomia_configured_session_up{session="s"} 1');
    expect(body).toContain('eunomia_configured_metric_missed_total{metric="all_total"} 0');
    await until('the window ends', async () => (await scrape()).includes('users 4'));
    await until('a window in which nothing came tells nothing', async () => !/^users /m.test(await scrape()));
    await own.services.manager.close();
  });

  it('whose session cannot start leaves the server up, and says so', async () => {
    const own = await createFixture();
    own.kernel.refuse = new Error('no ring');
    const exported = new ExportedMetrics(parse(METRIC, own), own.service.sessions, own.services.log);
    await exported.start();
    own.services.metrics.add(exported);
    expect((await own.services.metrics.expose()).body).toContain('eunomia_configured_session_up{session="s"} 0');
  });

  it('gives a session its plugins, from its first event on', async () => {
    const own = await createFixture();
    try {
      await own.services.plugins.upload(
        'count.ts',
        "let seen = 0;\nexport default { name: 'count', version: '1', summary: 'Counts.', reads: { exec: " +
          "['process.pid'] }, options: { least: { type: 'integer', default: 1, description: 'Of all.' } }, " +
          'onBatch(events: readonly unknown[], context: { emit(kind: string, value: unknown): void; options: { ' +
          "least: number } }) { seen += events.length; context.emit('seen', seen + context.options.least); } };",
        false,
      );
      const text = `${SESSION}    plugins:\n      - { name: count, options: { least: 5 } }\n`;
      expect(() => parse(text.replace('least', 'lest'), own)).toThrow(
        'sessions[0].plugins[0].options.lest: the plugin count has no option "lest"; did you mean "least"?',
      );
      const exported = new ExportedMetrics(parse(text, own), own.service.sessions, own.services.log);
      await exported.start();
      const [session] = own.services.manager.list();
      expect(own.services.plugins.of(session?.id ?? '').map(({ plugin }) => plugin.facts.name)).toEqual(['count']);
    } finally {
      await own.services.plugins.close();
      await own.services.manager.close();
    }
  });
});
