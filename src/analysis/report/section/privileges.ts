import type { TraceEvent } from '../../../event/event.js';
import type { PrivilegeEntry, ReportSections } from '../../../event/report.js';
import type { PrivilegeFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { sample, Tally } from './tally.js';

/** Uses of privileges, by call, command and error. */
export class Privileges implements SectionCounter<'privileges'> {
  readonly #uses = new Tally<
    Omit<PrivilegeFact, 'target'> & { readonly comms: string[]; readonly targets: string[] }
  >();

  add({ call, command, errno, target }: PrivilegeFact, { process }: TraceEvent): void {
    const use = this.#uses.add(`${call} ${command} ${errno}`, () => ({ call, command, errno, comms: [], targets: [] }));
    if (!use) return;
    sample(use.comms, process.comm);
    if (target !== null) sample(use.targets, target);
  }

  build(top: number): Pick<ReportSections, 'privileges'> {
    return { privileges: this.#uses.section(top, (entry, count): PrivilegeEntry => ({ ...entry, count })) };
  }
}
