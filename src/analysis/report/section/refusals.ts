import type { TraceEvent } from '../../../event/event.js';
import type { RefusedCallEntry, ReportSections } from '../../../event/report.js';
import type { RefusalFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { sample, Tally } from './tally.js';

/** System calls that seccomp filters refused, by call, action and error. */
export class Refusals implements SectionCounter<'refusals'> {
  readonly #calls = new Tally<Omit<RefusalFact, 'argument'> & { readonly comms: string[] }>();

  add({ name, action, errno }: RefusalFact, { process }: TraceEvent): void {
    const call = this.#calls.add(`${name} ${action} ${errno}`, () => ({ name, action, errno, comms: [] }));
    if (call) sample(call.comms, process.comm);
  }

  build(top: number): Pick<ReportSections, 'refusedCalls'> {
    return { refusedCalls: this.#calls.section(top, (entry, count): RefusedCallEntry => ({ ...entry, count })) };
  }
}
