/**
 * Latency outliers: system calls that take much longer than the same call usually takes in that container. Requires the tracker syscall,
 * preferably with `only`. Calls that wait by design (poll, futex) are excluded by `ignore`.
 *
 * For each container and call, the plugin learns the mean and variance of the logarithm of the duration (each new call has a weight of
 * 2 %). A call is an outlier if it takes `factor` times longer than usual, deviates by more than four standard deviations, and takes at
 * least `minMs`. Each outlier is a result; each container, call and program has one alert (LOW). A runtime on its way into a container
 * has the container's cgroup already, and waits for its parent there: it is excluded by `ignorePrograms`.
 */
import { definePlugin } from 'eunomia/plugin';

const usual = new Map<string, { count: number; mean: number; variance: number }>();
const MAX = 20_000;
const LEARN = 0.02;
const DEVIATIONS = 4;
const WAITING =
  'poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 futex nanosleep clock_nanosleep wait4 waitid ' +
  'accept accept4 rt_sigtimedwait rt_sigsuspend pause io_getevents restart_syscall';

export default definePlugin({
  name: 'latency-outlier',
  version: '1.0.0',
  summary: 'Finds system calls that take much longer than usual.',
  options: {
    factor: {
      type: 'number',
      default: 10,
      min: 2,
      max: 10_000,
      description: 'How many times longer than usual an outlier takes.',
    },
    minMs: {
      type: 'number',
      default: 20,
      min: 0,
      max: 3_600_000,
      description: 'Minimum duration of an outlier, in milliseconds.',
    },
    warmUp: {
      type: 'integer',
      default: 30,
      min: 5,
      max: 100_000,
      description: 'Number of calls, per container and call, to learn from before outliers are reported.',
    },
    ignore: {
      type: 'strings',
      default: WAITING.split(' '),
      description: 'System calls to ignore, because they wait by design.',
    },
    ignorePrograms: {
      type: 'strings',
      default: ['runc:['],
      description: 'Programs (comm) to ignore, by the beginning of their names.',
    },
  },
  metrics: {
    outliers: { type: 'counter', help: 'System calls that were outliers.', labels: ['call'] },
    outlier_seconds: { type: 'histogram', help: 'Durations of outliers in seconds.', buckets: [0.01, 0.1, 1, 10] },
  },
  reads: { syscall: ['time', 'process', 'container', 'name', 'durationNs'] },
  onBatch(events, context) {
    const { factor, minMs, warmUp, ignore, ignorePrograms } = context.options;
    for (const event of events) {
      const {
        name,
        process: { comm },
      } = event;
      if (name === null || event.durationNs === null || ignore.includes(name)) continue;
      if (ignorePrograms.some((beginning) => comm.startsWith(beginning))) continue;
      const ns = Math.max(1, Number(event.durationNs));
      const key = `${event.container?.id ?? ''} ${name}`;
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
        context.count('outliers', { call: name });
        context.observe('outlier_seconds', ns / 1e9);
        const found = {
          call: name,
          ms,
          usualMs,
          container: event.container?.name ?? null,
          pid: event.process.pid,
          comm,
        };
        context.emit('outlier', found, { event });
        context.alert({
          severity: 'LOW',
          title: 'A slow system call',
          message: `${name} of ${comm} in ${where} took ${ms} ms; it usually takes ${usualMs} ms`,
          event,
          key: `${key} ${comm}`,
        });
      }
      // The first calls have more weight, so that the mean is usable after the warm-up; an outlier hardly moves it.
      known.count++;
      const weight = Math.max(LEARN, 1 / Math.min(known.count, warmUp)) * (slow ? 0.1 : 1);
      known.mean += weight * away;
      known.variance = (1 - weight) * (known.variance + weight * away * away);
    }
  },
});
