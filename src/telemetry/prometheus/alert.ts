import { severities } from '../../event/severity.js';
import { LabelValues, type MetricFamily, type MetricsSource } from '../../event/metric.js';

/** Alerts that were raised, as `AlertBook.counts` has them. */
export interface AlertFigures {
  readonly severity: string;
  /** Who raised them: "plugin:NAME". */
  readonly source: string;
  /** Alerts; those that were merged by their key are one. */
  readonly alerts: number;
  /** Times that they were raised, repetitions included. */
  readonly raised: number;
  /** Alerts that a silence kept from being sent out. */
  readonly silenced: number;
  /** Times raised that made no alert, since the source raised too many. */
  readonly suppressed: number;
}

/** Alerts that are kept, by their state. */
export type AlertStates = Readonly<Record<string, number>>;

/** Sources with a label of their own; as many plugins can be loaded at once. */
const MAX_SOURCES = 64;
const IDLE_MS = 600_000;

/**
 * `eunomia_alerts_total`, `…_raised_total`, `…_silenced_total` and `…_suppressed_total`, by severity and source: counts never fall. And
 * `eunomia_alerts`, by state.
 */
export class AlertMetrics implements MetricsSource {
  readonly #counts: () => readonly AlertFigures[];
  readonly #sources: () => readonly string[];
  readonly #states: () => AlertStates;
  readonly #labels = new LabelValues(MAX_SOURCES, IDLE_MS, () => {});

  /**
   * `sources` are those that may raise one: they have a series of 0 for each severity, since Prometheus takes no
   * increase from a series that begins at 1.
   */
  constructor(counts: () => readonly AlertFigures[], sources: () => readonly string[], states: () => AlertStates) {
    this.#counts = counts;
    this.#sources = sources;
    this.#states = states;
  }

  metrics(): MetricFamily[] {
    const nowMs = Date.now();
    const counts = this.#counts();
    const silent = this.#sources().flatMap((source) =>
      severities
        .filter((severity) => !counts.some((count) => count.source === source && count.severity === severity))
        .map((severity) => ({ severity, source, alerts: 0, raised: 0, silenced: 0, suppressed: 0 })),
    );
    const all = [...counts, ...silent].filter(({ source }) => this.#labels.of(source, nowMs) === source);
    const family = (name: string, help: string, of: (count: AlertFigures) => number): MetricFamily => ({
      name,
      type: 'counter',
      help,
      samples: all.map((count) => ({ labels: { severity: count.severity, source: count.source }, value: of(count) })),
    });
    return [
      family(
        'eunomia_alerts_total',
        'Alerts, by severity and by who raised them; those with one key within five minutes are one.',
        ({ alerts }) => alerts,
      ),
      family(
        'eunomia_alerts_raised_total',
        'Times that alerts were raised, repetitions of one key included.',
        ({ raised }) => raised,
      ),
      family(
        'eunomia_alerts_silenced_total',
        'Alerts that a silence kept from being sent out.',
        ({ silenced }) => silenced,
      ),
      family(
        'eunomia_alerts_suppressed_total',
        'Times that alerts were raised and none was made, since their source raised too many.',
        ({ suppressed }) => suppressed,
      ),
      {
        name: 'eunomia_alerts',
        type: 'gauge',
        help: 'Alerts that are kept, by state.',
        samples: Object.entries(this.#states()).map(([state, value]) => ({ labels: { state }, value })),
      },
    ];
  }
}
