/** One measured number, and what it is held against. */
export interface Figure {
  readonly bench: string;
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  /** A number of ours, or what a peer reached in this very run; null when it is there for comparison only. */
  readonly goal: number | null;
  /** Null where there is no goal. */
  readonly met: boolean | null;
  /** What a reader has to know to interpret it. */
  readonly note?: string;
}

export interface Goal {
  readonly goal: number;
  /** Which side of the goal is good. */
  readonly better: 'higher' | 'lower';
  /** Share by which it may miss a peer's figure and still count as equal: two runs of one program differ by as much. */
  readonly noise?: number;
}

/** Takes figures as they are measured: as JSON lines at once, or as one table at the end. */
export class Report {
  readonly #bench: string;
  readonly #json: boolean;
  readonly #figures: Figure[] = [];

  constructor(bench: string, json: boolean) {
    this.#bench = bench;
    this.#json = json;
  }

  add(name: string, value: number, unit: string, goal: Goal | null = null, note?: string): void {
    const figure: Figure = {
      bench: this.#bench,
      figure: name,
      value: round(value),
      unit,
      goal: goal && round(goal.goal),
      met: goal && isMet(value, goal),
      ...(note === undefined ? {} : { note }),
    };
    this.#figures.push(figure);
    if (this.#json) process.stdout.write(`${JSON.stringify(figure)}\n`);
    else process.stderr.write(`  ${name}: ${figure.value} ${unit}\n`);
  }

  /** What it could not measure, and why: on stderr, for a figure that is missing must not go unseen. */
  skip(what: string, why: string): void {
    process.stderr.write(`${this.#bench}: not measured: ${what}: ${why}\n`);
  }

  end(): void {
    if (this.#json) return;
    const rows = this.#figures.map(({ figure, value, unit, goal, met, note }) => [
      figure,
      value.toLocaleString('en-US'),
      unit,
      goal === null ? '' : goal.toLocaleString('en-US'),
      met === null ? '' : met ? 'met' : 'MISSED',
      note ?? '',
    ]);
    const table = [['figure', 'value', 'unit', 'goal', '', 'note'], ...rows];
    const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
    for (const row of table) {
      const cells = row.map((cell, i) =>
        i === 1 || i === 3 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
      );
      process.stdout.write(`${cells.join('  ').trimEnd()}\n`);
    }
  }
}

function isMet(value: number, { goal, better, noise = 0 }: Goal): boolean {
  return better === 'higher' ? value >= goal * (1 - noise) : value <= goal * (1 + noise);
}

/** Of what is below 1, two digits that tell something: a share of 0.04 is none of 0. */
function round(value: number): number {
  if (Math.abs(value) < 1) return Number(value.toPrecision(2));
  return Math.abs(value) >= 1000 ? Math.round(value) : Math.round(value * 10) / 10;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
