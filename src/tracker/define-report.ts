import type { AlikeField } from '../event/alike.js';
import type { TraceEvent } from '../event/event.js';
import type { AnyReportFeed, Restriction, SectionName } from '../event/report-feed.js';
import type { PluginEvents } from '../generated/plugin-event.js';

/** An event of a tracker, as schema.graphql describes it. */
type EventOf<Tracker extends keyof PluginEvents> = TraceEvent & Omit<PluginEvents[Tracker], keyof TraceEvent>;

/** What the tracker of this name contributes to reports: `report: defineReport<'open'>({ feeds: 'files', … })`. */
export function defineReport<Tracker extends keyof PluginEvents>(
  feed: AnyReportFeed<EventOf<Tracker>> & {
    readonly demand?: readonly (keyof PluginEvents[Tracker] & string)[];
    readonly alike?: readonly AlikeField[];
  },
): AnyReportFeed {
  return feed;
}

// Options that exclude events; `says` is the sentence that a report has about it, `sections` those that lack something.

/** An option that excludes events when it is true. */
export function ifSet(option: string, says: string, sections?: readonly SectionName[]): Restriction {
  return { option, says, applies: (value) => value === true, ...(sections ? { sections } : {}) };
}

/** An option that excludes events when it is false. */
export function ifOff(option: string, says: string, sections?: readonly SectionName[]): Restriction {
  return { option, says, applies: (value) => value === false, ...(sections ? { sections } : {}) };
}

/** An option that excludes events when it is given a list. */
export function ifListed(option: string, says: string, sections?: readonly SectionName[]): Restriction {
  return { option, says, applies: Array.isArray, ...(sections ? { sections } : {}) };
}
