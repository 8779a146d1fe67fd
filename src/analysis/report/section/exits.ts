import type { TraceEvent } from '../../../event/event.js';
import type { ExitEntry, ReportSections } from '../../../event/report.js';
import type { ExitFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { Tally } from './tally.js';

/** How processes exited, by comm. */
export class Exits implements SectionCounter<'exits'> {
  readonly #exits = new Tally<Omit<ExitEntry, 'count'>>();

  add({ exitCode, signal }: ExitFact, { process: { comm } }: TraceEvent): void {
    this.#exits.add(`${comm} ${exitCode} ${signal}`, () => ({ comm, exitCode, signal }));
  }

  build(top: number): Pick<ReportSections, 'exits'> {
    return { exits: this.#exits.section(top, (entry, count): ExitEntry => ({ ...entry, count })) };
  }
}
