import { visible } from '../base/visible.js';
import { cutTo, padTo, widthOf } from './width.js';

/** An event as a line tells it. */
export interface EventLine {
  /** "08:15:30.123", in UTC. */
  readonly time: string;
  readonly container: string;
  readonly pid: string;
  readonly comm: string;
  readonly event: string;
  readonly details: string;
}

interface Place {
  readonly key: Exclude<keyof EventLine, 'details'>;
  readonly header: string;
  /** More than this is cut; the time, a pid and the name of a tracker never are. */
  readonly most: number;
}

/**
 * Lines of events, printed while they come: each place widens with what it has seen, up to a bound that depends on the terminal, and
 * what an event tells has the rest. Nothing wraps.
 */
export class EventLines {
  readonly #terminal: number | null;
  readonly #places: readonly Place[];
  readonly #widths: number[];
  readonly #gutter: string;
  #begun = false;

  /** `terminal`: the width that lines are cut to; null cuts nothing. `several`: trackers. */
  constructor(terminal: number | null, several: boolean) {
    this.#terminal = terminal;
    const columns = terminal ?? Number.POSITIVE_INFINITY;
    const most = columns < 80 ? 8 : columns < 120 ? 12 : columns < 160 ? 20 : 40;
    const whole = Number.POSITIVE_INFINITY;
    this.#places = [
      { key: 'time', header: 'TIME (UTC)', most: whole },
      { key: 'container', header: columns < 80 ? 'CONT' : 'CONTAINER', most },
      { key: 'pid', header: 'PID', most: whole },
      { key: 'comm', header: 'COMM', most: Math.min(most, 15) },
      // One tracker needs no name in each line where there is no room.
      ...(several || columns >= 80 ? [{ key: 'event', header: 'EVENT', most: whole } as const] : []),
    ];
    this.#widths = this.#places.map(({ header }) => header.length);
    this.#gutter = columns < 100 ? ' ' : '  ';
  }

  /** The lines of these events, the header's first when they are the first. */
  render(events: readonly EventLine[]): string {
    const rows = events.map((event) => ({
      cells: this.#places.map(({ key, most }) => cutTo(visible(event[key]) || '-', most)),
      details: visible(event.details),
    }));
    for (const { cells } of rows)
      cells.forEach((cell, i) => (this.#widths[i] = Math.max(this.#widths[i] ?? 0, widthOf(cell))));
    const head = { cells: this.#places.map(({ header }) => header), details: 'DETAILS' };
    const lines = this.#begun ? rows : [head, ...rows];
    this.#begun = true;
    return lines.map((row) => `${this.#line(row)}\n`).join('');
  }

  #line({ cells, details }: { readonly cells: readonly string[]; readonly details: string }): string {
    const padded = cells.map((cell, i) => padTo(cell, this.#widths[i] ?? 0));
    const line = [...padded, details].join(this.#gutter).trimEnd();
    return this.#terminal === null ? line : cutTo(line, this.#terminal);
  }
}
