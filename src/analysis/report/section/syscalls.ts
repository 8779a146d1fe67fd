import type { ReportSections, SyscallEntry } from '../../../event/report.js';
import type { SyscallFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { Tally } from './tally.js';

/** System calls, by name. */
export class Syscalls implements SectionCounter<'syscalls'> {
  readonly #calls = new Tally<{ readonly name: string; errors: number }>();

  add({ name, count, errors }: SyscallFact): void {
    const call = this.#calls.add(name, () => ({ name, errors: 0 }), count);
    if (call) call.errors += errors;
  }

  build(top: number): Pick<ReportSections, 'syscalls'> {
    const syscalls = this.#calls.section(top, ({ name, errors }, count): SyscallEntry => ({
      name,
      count,
      errors: String(errors),
    }));
    return { syscalls };
  }
}
