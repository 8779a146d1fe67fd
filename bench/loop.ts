import { renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import koffi from 'koffi';

/**
 * Loaded into a server by `--import`; writes into the file that the environment names. At the server's end: how long
 * its event loop kept a timer waiting. With `EUNOMIA_BENCH_PIECES`, at each SIGUSR2 too: what the longest round of the
 * loop since the last one took of the thread's CPU time, which other programs of the machine do not lengthen.
 */
export interface LoopFigures {
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly longestPieceMs: number;
  /** How often it was written. */
  readonly times: number;
}

const CLOCK_THREAD_CPUTIME_ID = 3;

const file = process.env['EUNOMIA_BENCH_LOOP'];
if (file) {
  const delay = monitorEventLoopDelay({ resolution: 2 });
  delay.enable();
  let longestPieceMs = 0;
  let times = 0;
  const write = (): void => {
    const figures: LoopFigures = {
      p99Ms: delay.percentile(99) / 1e6,
      maxMs: delay.max / 1e6,
      longestPieceMs,
      times: ++times,
    };
    writeFileSync(`${file}.new`, JSON.stringify(figures));
    renameSync(`${file}.new`, file); // whoever reads it sees all of it
    longestPieceMs = 0;
    delay.reset();
  };
  if (process.env['EUNOMIA_BENCH_PIECES']) {
    const clock = cpuClock();
    let before = clock();
    // The loop never sleeps so: each of its rounds is measured, the empty ones too.
    const round = (): void => {
      const now = clock();
      longestPieceMs = Math.max(longestPieceMs, now - before);
      before = now;
      setImmediate(round).unref();
    };
    round();
    process.on('SIGUSR2', write);
  }
  process.once('exit', write);
}

/** Returns the CPU time of this thread in milliseconds. */
function cpuClock(): () => number {
  const read = koffi.load('libc.so.6').func('int clock_gettime(int clock, _Out_ int64_t *time)');
  const time = new BigInt64Array(2);
  return () => {
    read(CLOCK_THREAD_CPUTIME_ID, time);
    return Number(time[0]) * 1000 + Number(time[1]) / 1e6;
  };
}
