import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LoopFigures } from './loop.js';

/** The event loop of a server that was started with bench/loop.ts and `EUNOMIA_BENCH_PIECES`, as its file tells of it. */
export class WatchedLoop {
  readonly #pid: number;
  readonly #file: string;
  #times = 0;

  constructor(pid: number, file: string) {
    this.#pid = pid;
    this.#file = file;
  }

  /** The CPU time of the longest piece since this was called last. */
  async longestPieceMs(): Promise<number> {
    process.kill(this.#pid, 'SIGUSR2');
    for (;;) {
      const text = await readFile(this.#file, 'utf8').catch(() => '');
      const figures = text === '' ? null : (JSON.parse(text) as LoopFigures);
      if (figures && figures.times > this.#times) {
        this.#times = figures.times;
        return figures.longestPieceMs;
      }
      await sleep(10);
    }
  }
}
