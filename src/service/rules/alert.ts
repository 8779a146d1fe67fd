import type { NewAlert } from '../../alerts/book.js';
import type { RuleAlert } from '../../rules/alert.js';

/** What a rule raises, for the server's list of alerts. */
export function alertOf({ rule, ...alert }: RuleAlert, session: string | null): NewAlert {
  return { ...alert, rule, source: `rule:${rule}`, session };
}
