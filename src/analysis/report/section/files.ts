import type { TraceEvent } from '../../../event/event.js';
import type { FileEntry, ReportSections, Section } from '../../../event/report.js';
import type { FileFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { sample, Tally } from './tally.js';

interface Opened {
  readonly path: string | null;
  readonly errno: string | null;
  readonly comms: string[];
}

/** Files that were opened, for reading and for writing, and attempts that failed. */
export class Files implements SectionCounter<'files'> {
  readonly #read = new Tally<Opened>();
  readonly #written = new Tally<Opened>();
  readonly #failed = new Tally<Opened>();

  add({ path, errno, reads, writes, count: times }: FileFact, { process }: TraceEvent): void {
    const count = (tally: Tally<Opened>): void => {
      const opened = tally.add(`${path} ${errno}`, () => ({ path, errno, comms: [] }), times);
      if (opened) sample(opened.comms, process.comm);
    };
    if (errno !== null) return count(this.#failed);
    if (writes) count(this.#written);
    if (reads) count(this.#read);
  }

  build(top: number): Pick<ReportSections, 'filesRead' | 'filesWritten' | 'failedOpens'> {
    const section = (tally: Tally<Opened>): Section<FileEntry> =>
      tally.section(top, (entry, count) => ({ ...entry, count }));
    return {
      filesRead: section(this.#read),
      filesWritten: section(this.#written),
      failedOpens: section(this.#failed),
    };
  }
}
