import type { TraceEvent } from '../../../event/event.js';
import type { DnsNameEntry, ReportSections } from '../../../event/report.js';
import type { NameFact } from '../../../event/report-feed.js';
import type { SectionCounter } from './section.js';
import { sample, Tally } from './tally.js';

const SUCCESS = 'NOERROR';

interface Asked {
  readonly name: string | null;
  readonly types: string[];
  responses: number;
  failed: number;
  readonly failures: string[];
  readonly comms: string[];
}

/** Names that DNS was asked for, and how often it had no answer. */
export class Names implements SectionCounter<'names'> {
  readonly #names = new Tally<Asked>();

  add({ operation, name, type, rcode }: NameFact, { process }: TraceEvent): void {
    const asked = this.#names.add(
      name ?? '', // which is no name: the root is "."
      () => ({ name, types: [], responses: 0, failed: 0, failures: [], comms: [] }),
      operation === 'QUERY' ? 1 : 0,
    );
    if (!asked) return;
    sample(asked.comms, process.comm);
    if (type !== null) sample(asked.types, type);
    if (operation === 'QUERY') return;
    asked.responses++;
    if (rcode === null || rcode === SUCCESS) return;
    asked.failed++;
    sample(asked.failures, rcode);
  }

  build(top: number): Pick<ReportSections, 'dnsNames'> {
    const dnsNames = this.#names.section(top, ({ responses, failed, ...entry }, count): DnsNameEntry => ({
      ...entry,
      count,
      responses: String(responses),
      failed: String(failed),
    }));
    return { dnsNames };
  }
}
