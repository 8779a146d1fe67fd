import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Loaded into a server by `--import`: at its end it writes how long its event loop kept a timer waiting, in milliseconds, into the file that the environment names. */

const file = process.env['EUNOMIA_BENCH_LOOP'];
if (file) {
  const delay = monitorEventLoopDelay({ resolution: 2 });
  delay.enable();
  process.once('exit', () =>
    writeFileSync(file, JSON.stringify({ p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 })),
  );
}
