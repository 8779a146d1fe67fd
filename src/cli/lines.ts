import { visible } from '../base/visible.js';
import type { Output } from './output.js';
import { paint, Painted } from './paint.js';
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
  /** What it tells of did not succeed. */
  readonly hasFailed: boolean;
}

interface Place {
  readonly key: Exclude<keyof EventLine, 'details' | 'hasFailed'>;
  readonly header: string;
  /** More than this is cut; the time, a pid and the name of a tracker never are. */
  readonly most: number;
}

interface Row extends Pick<EventLine, 'details' | 'hasFailed'> {
  readonly cells: readonly string[];
}

export type Terminal = Pick<Output, 'width' | 'hasColor'>;

/**
 * Lines of events, printed while they come: each place widens with what it has seen, up to a bound that depends on the terminal, and
 * what an event tells has the rest. Nothing wraps.
 */
export class EventLines {
  readonly #terminal: number | null;
  readonly #hasColor: boolean;
  readonly #places: readonly Place[];
  readonly #widths: number[];
  readonly #gutter: string;
  #begun = false;

  /** `width`: what lines are cut to; null cuts nothing. `several`: trackers. */
  constructor({ width: terminal, hasColor }: Terminal, several: boolean) {
    this.#terminal = terminal;
    this.#hasColor = hasColor;
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
  render(events: readonly EventLine[]): string | Painted {
    const rows = events.map((event) => ({
      cells: this.#places.map(({ key, most }) => cutTo(visible(event[key]) || '-', most)),
      details: visible(event.details),
      hasFailed: event.hasFailed,
    }));
    for (const { cells } of rows)
      cells.forEach((cell, i) => (this.#widths[i] = Math.max(this.#widths[i] ?? 0, widthOf(cell))));
    const head = { cells: this.#places.map(({ header }) => header), details: 'DETAILS', hasFailed: false };
    const lines = this.#begun ? rows : [head, ...rows];
    this.#begun = true;
    const text = lines.map((row) => `${this.#line(row)}\n`).join('');
    return this.#hasColor && text ? new Painted(text) : text;
  }

  #line({ cells, details, hasFailed }: Row): string {
    const padded = cells.map((cell, i) => padTo(cell, this.#widths[i] ?? 0));
    const line = [...padded, details].join(this.#gutter).trimEnd();
    const shown = this.#terminal === null ? line : cutTo(line, this.#terminal);
    if (!this.#hasColor) return shown;
    const time = padded[0]?.length ?? 0;
    const end = hasFailed ? padded.join(this.#gutter).length : shown.length;
    return paint(shown.slice(0, time), 'faint') + shown.slice(time, end) + paint(shown.slice(end), 'failure');
  }
}
