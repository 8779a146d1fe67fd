import type { NewAlert } from '../../alerts/book.js';
import { webhooksOf } from '../../rules/action.js';
import type { RuleAlert } from '../../rules/alert.js';

/** What a rule raises, for the server's list of alerts. */
export function alertOf({ rule, actions, evidence, ...alert }: RuleAlert, session: string | null): NewAlert {
  return {
    ...alert,
    rule,
    webhooks: webhooksOf(actions),
    source: `rule:${rule}`,
    session,
    evidence: evidence && (() => ({ ...evidence, events: evidence.events() })),
  };
}
