/**
 * Latency outliers: system calls that take much longer than that call does as a rule in that container. Needs the tracker syscall, best
 * with `only`. Calls that wait for their caller's sake (poll, futex) are slow by nature, and left out by `ignore`.
 *
 * For each container and call it learns mean and variance of the duration's logarithm (each new call counts 2 %). A call that is
 * `factor` times slower than usual, more than four standard deviations away, and `minMs` at least is told: as a result each, as an
 * alert (LOW) once a container and call.
 */
import { definePlugin } from 'eunomia/plugin';

const usual = new Map<string, { count: number; mean: number; variance: number }>();
const MAX = 20_000;
const LEARN = 0.02;
const DEVIATIONS = 4;
const WAITING =
  'poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 futex nanosleep clock_nanosleep wait4 waitid accept accept4 rt_sigtimedwait rt_sigsuspend pause io_getevents restart_syscall';

export default definePlugin({
  name: 'latency-outlier',
  version: '1.0.0',
  summary: 'Finds system calls that take much longer than they do as a rule.',
  options: {
    factor: { type: 'number', default: 10, min: 2, max: 10_000, description: 'How many times slower than usual.' },
    minMs: {
      type: 'number',
      default: 20,
      min: 0,
      max: 3_600_000,
      description: 'Shorter calls are never outliers; in milliseconds.',
    },
    warmUp: {
      type: 'integer',
      default: 30,
      min: 5,
      max: 100_000,
      description: 'Calls of a kind in a container after which it is judged.',
    },
    ignore: { type: 'strings', default: WAITING.split(' '), description: 'Calls that wait for their caller’s sake.' },
  },
  metrics: {
    outliers: { type: 'counter', help: 'Calls that were outliers.', labels: ['call'] },
    outlier_seconds: { type: 'histogram', help: 'How long outliers took, in seconds.', buckets: [0.01, 0.1, 1, 10] },
  },
  reads: { syscall: ['time', 'process', 'container', 'name', 'durationNs'] },
  onBatch(events, context) {
    const { factor, minMs, warmUp, ignore } = context.options;
    for (const event of events) {
      if (event.durationNs === null || ignore.includes(event.name)) continue;
      const ns = Math.max(1, Number(event.durationNs));
      const key = `${event.container?.id ?? ''} ${event.name}`;
      const known = usual.get(key) ?? { count: 0, mean: Math.log(ns), variance: 0 };
      if (known.count === 0 && usual.size >= MAX) continue;
      usual.set(key, known);
      const away = Math.log(ns) - known.mean;
      const slow =
        known.count >= warmUp &&
        ns >= minMs * 1e6 &&
        away > Math.log(factor) &&
        away > DEVIATIONS * Math.sqrt(known.variance);
      if (slow) {
        const ms = Math.round(ns / 1e4) / 100;
        const usualMs = Math.round(Math.exp(known.mean) / 1e4) / 100;
        const where = event.container?.name ?? event.container?.id ?? 'the host';
        context.count('outliers', { call: event.name });
        context.observe('outlier_seconds', ns / 1e9);
        context.emit('outlier', {
          call: event.name,
          ms,
          usualMs,
          container: event.container?.name ?? null,
          pid: event.process.pid,
          comm: event.process.comm,
        });
        context.alert({
          severity: 'LOW',
          title: 'A slow system call',
          message: `${event.name} of ${event.process.comm} in ${where} took ${ms} ms; it takes ${usualMs} ms as a rule`,
          event,
          key,
        });
      }
      // The first ones count more, so that the mean is there when they are judged; an outlier hardly moves it.
      known.count++;
      const weight = Math.max(LEARN, 1 / Math.min(known.count, warmUp)) * (slow ? 0.1 : 1);
      known.mean += weight * away;
      known.variance = (1 - weight) * (known.variance + weight * away * away);
    }
  },
});
