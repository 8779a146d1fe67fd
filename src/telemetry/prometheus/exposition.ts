import { Gauge, Registry, type OpenMetricsContentType, type PrometheusContentType } from 'prom-client';
import { messageOf } from '../../base/errors.js';
import { turns } from '../../base/turn.js';
import type { Log } from '../../base/log.js';
import type { HistogramSample, MetricFamily, MetricsSource } from '../../event/metric.js';

export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

type Values = Awaited<ReturnType<Gauge['get']>>;
type Value = Values['values'][number] & { readonly metricName?: string; readonly exemplar?: unknown };

const SOURCE_MS = 2_000;
/** Of one metric, whoever it is from: a scrape must stay small. Histograms count once, whatever their buckets. */
const MAX_SERIES = 20_000;
/** Samples that are written in one piece, about a millisecond's work. A histogram has some twenty lines. */
const PART_SAMPLES = 500;
const PART_HISTOGRAMS = 25;
/** # HELP and # TYPE. */
const HEAD_LINES = 2;
const EOF = '# EOF\n';
const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** All metrics of the server, as text for Prometheus. Parts join with `add`. */
export class Metrics {
  readonly #sources = new Set<MetricsSource>();
  readonly #log: Log;
  readonly #told = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Returns the function that takes the source away again. */
  add(source: MetricsSource): () => void {
    this.#sources.add(source);
    return () => void this.#sources.delete(source);
  }

  /** Everything, by name, each name once. Never rejects: a source that fails is left out and told in the log. */
  async families(): Promise<MetricFamily[]> {
    const lists = await Promise.all([...this.#sources].map((source) => this.#ask(source)));
    const byName = new Map<string, MetricFamily>();
    let failed = 0;
    let leftOut = 0;
    for (const list of lists) {
      if (!list) failed++;
      for (const family of list ?? []) {
        const problem = byName.has(family.name) ? 'is there already' : problemOf(family);
        if (problem) this.#tellOnce(`the metric ${family.name} ${problem}; it is left out`);
        else byName.set(family.name, capped(family));
        leftOut += Math.max(0, family.samples.length - MAX_SERIES);
      }
    }
    return [
      ...byName.values(),
      {
        name: 'eunomia_metrics_sources_failed',
        type: 'gauge',
        help: 'Parts of the server whose metrics are missing from this scrape.',
        samples: [{ labels: {}, value: failed }],
      },
      {
        name: 'eunomia_metrics_series_left_out',
        type: 'gauge',
        help: `Series beyond the ${MAX_SERIES} that one metric may have in a scrape.`,
        samples: [{ labels: {}, value: leftOut }],
      },
    ];
  }

  /** In the OpenMetrics format, with exemplars, when the request's `Accept` names it; else in Prometheus' own. */
  async expose(accept = ''): Promise<Exposition> {
    const isOpen = accept.includes('application/openmetrics-text');
    const texts: string[] = [];
    for (const family of await this.families()) texts.push(await familyText(family, isOpen));
    return {
      contentType: isOpen ? Registry.OPENMETRICS_CONTENT_TYPE : Registry.PROMETHEUS_CONTENT_TYPE,
      body: isOpen ? `${texts.join('\n')}\n${EOF}` : `${texts.join('\n\n')}\n`,
    };
  }

  async #ask(source: MetricsSource): Promise<readonly MetricFamily[] | null> {
    let timer: NodeJS.Timeout | undefined;
    try {
      const late = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(new Error(`no response within ${SOURCE_MS} ms`)), SOURCE_MS);
      });
      return await Promise.race([source.metrics(), late]);
    } catch (error) {
      this.#log.warn({ source: source.constructor.name, error: messageOf(error) }, 'metrics of a part are missing');
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  #tellOnce(text: string): void {
    if (this.#told.size < 100 && !this.#told.has(text)) this.#log.warn(text);
    this.#told.add(text);
  }
}

/** A family's lines, in turns: the registry writes what it has in one piece, so that it gets some of the samples at a time. */
async function familyText(family: MetricFamily, isOpen: boolean): Promise<string> {
  const texts: string[] = [];
  for (const part of partsOf(family)) {
    if (!turns.isOpen) await turns.next('REQUEST');
    const registry = new Registry<PrometheusContentType | OpenMetricsContentType>();
    if (isOpen) registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    registry.registerMetric(new FamilyMetric(part));
    const text = (await registry.metrics()).replace(isOpen ? `\n${EOF}` : /\n$/, '');
    texts.push(texts.length === 0 ? text : text.split('\n').slice(HEAD_LINES).join('\n'));
  }
  return texts.join('\n');
}

function* partsOf(family: MetricFamily): Generator<MetricFamily> {
  if (family.type === 'histogram') {
    for (const samples of slices(family.samples, PART_HISTOGRAMS)) yield { ...family, samples };
  } else for (const samples of slices(family.samples, PART_SAMPLES)) yield { ...family, samples };
}

/** At least one, which may be empty. */
function* slices<Item>(list: readonly Item[], size: number): Generator<readonly Item[]> {
  for (let at = 0; at === 0 || at < list.length; at += size) yield list.slice(at, at + size);
}

/** A family in the shape in which prom-client's registry takes metrics: made for one scrape, since the registry renames counters in it. */
class FamilyMetric extends Gauge {
  readonly type: MetricFamily['type'];
  readonly #family: MetricFamily;

  constructor(family: MetricFamily) {
    super({ name: family.name, help: family.help, registers: [] });
    this.type = family.type;
    this.#family = family;
  }

  override async get(): Promise<Values> {
    const family = this.#family;
    // The registry has set the name that fits its format.
    const name = String(Reflect.get(this, 'name'));
    const values: Value[] =
      family.type === 'histogram'
        ? family.samples.flatMap((sample) => lines(name, family.bounds, sample))
        : family.samples.map(({ labels, value }) => ({ labels, value }));
    return {
      name,
      help: family.help,
      // prom-client declares a numeric enum that it does not have: its types are these names.
      type: this.type as unknown as Values['type'],
      aggregator: 'sum',
      collect: () => undefined,
      values,
    };
  }
}

function lines(name: string, bounds: readonly number[], { labels, counts, sum, exemplars }: HistogramSample): Value[] {
  let count = 0;
  const buckets = Array.from({ length: bounds.length + 1 }, (_, i): Value => {
    count += counts[i] ?? 0;
    const exemplar = exemplars?.[i];
    return {
      metricName: `${name}_bucket`,
      labels: { ...labels, le: i < bounds.length ? String(bounds[i]) : '+Inf' },
      value: count,
      ...(exemplar
        ? { exemplar: { labelSet: exemplar.labels, value: exemplar.value, timestamp: exemplar.atMs / 1000 } }
        : {}),
    };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

function problemOf({ name, type, samples }: MetricFamily): string | null {
  if (!NAME.test(name)) return 'has a name that Prometheus does not take';
  if (type === 'counter' && !name.endsWith('_total')) return 'is a counter whose name does not end in _total';
  const bad = Object.keys(samples[0]?.labels ?? {}).find(
    (label) => !LABEL.test(label) || label.startsWith('__') || label === 'le',
  );
  return bad === undefined ? null : `has a label "${bad}" that Prometheus does not take`;
}

function capped(family: MetricFamily): MetricFamily {
  if (family.samples.length <= MAX_SERIES) return family;
  return family.type === 'histogram'
    ? { ...family, samples: family.samples.slice(0, MAX_SERIES) }
    : { ...family, samples: family.samples.slice(0, MAX_SERIES) };
}
