import type { TraceEvent } from '../../../event/event.js';
import type { ReportSections } from '../../../event/report.js';
import type { FactKind, ReportFacts, sectionsOf } from '../../../event/report-feed.js';

/** Counts the facts of one kind, in bounded memory, and makes the sections of a report from them. */
export interface SectionCounter<Kind extends FactKind> {
  /** `event` is the one that the fact was read from. */
  add(fact: ReportFacts[Kind], event: TraceEvent): void;
  /** `top`: maximum number of entries per section; the rest is counted together. */
  build(top: number): Pick<ReportSections, (typeof sectionsOf)[Kind][number]>;
}
