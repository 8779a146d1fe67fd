import type { TraceEvent } from '../../../event/event.js';
import type { CapabilityEntry, ReportSections } from '../../../event/report.js';
import type { CapabilityFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { sample, Tally } from './tally.js';

/** Capabilities that the kernel checked for, and how often they were denied. */
export class Capabilities implements SectionCounter<'capabilities'> {
  readonly #checks = new Tally<{ readonly capability: string; denied: number; readonly comms: string[] }>();

  add({ capability, granted, count }: CapabilityFact, { process }: TraceEvent): void {
    const checked = this.#checks.add(capability, () => ({ capability, denied: 0, comms: [] }), count);
    if (!checked) return;
    if (!granted) checked.denied += count;
    sample(checked.comms, process.comm);
  }

  build(top: number): Pick<ReportSections, 'capabilities'> {
    const capabilities = this.#checks.section(top, ({ denied, ...entry }, count): CapabilityEntry => ({
      ...entry,
      count,
      denied: String(denied),
    }));
    return { capabilities };
  }
}
