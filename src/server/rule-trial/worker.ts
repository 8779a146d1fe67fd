import { parentPort } from 'node:worker_threads';
import { serveChannel } from '../../base/channel.js';
import { EunomiaError } from '../../base/errors.js';
import { runTests, type Recordings, type TestOutcome, type TrialContext } from '../../rules/trial/index.js';
import type { RuleTrialOutcome, RuleTrialProtocol } from '../../service/rules/trial-protocol.js';
import { createRuleContext } from '../rule-test.js';

/** A thread that runs tests of rules: what they cost holds up nobody, and ends with it. */

/** Of what is told of all tests. */
const MOST_BYTES = 1 << 20;

const recordings: Recordings = {
  problem: () =>
    'a server reads no recording for a client; write `events`, or run `eunomia rules test` where the file is',
  events: () => {
    throw new TypeError('a recording was let through');
  },
};

const port = parentPort;
if (!port) throw new Error('tests of rules run in a thread of their own');

/** The same for all asks: it takes longer to make than most tests run. */
let vocabulary: Promise<TrialContext> | null = null;

serveChannel<RuleTrialProtocol>(
  port,
  {
    asks: {
      prepare: async () => {
        await (vocabulary ??= createRuleContext());
        return null;
      },
      test: async ({ rules, tests, rule, webhooks }) => {
        const context = { ...(await (vocabulary ??= createRuleContext())), webhooks, recordings };
        const told: RuleTrialOutcome[] = [];
        let bytes = 0;
        const { untested } = await runTests({ rules, tests: [tests] }, rule, context, (outcome) => {
          const one = toldOf(outcome);
          bytes += JSON.stringify(one).length;
          if (bytes > MOST_BYTES)
            throw new EunomiaError(
              'LIMIT_EXCEEDED',
              `what these tests raised is more than ${MOST_BYTES} bytes, up to "${outcome.name}"; run fewer of them at once`,
              { details: { limit: 'ruleTests', maximum: MOST_BYTES } },
            );
          told.push(one);
        });
        return { tests: told, untested: untested.map(({ name, file }) => ({ name, file: file.name })) };
      },
    },
    posts: {},
  },
  { code: 'INTERNAL_SERVER_ERROR' },
);

function toldOf({ name, line, rules, events, alerts, problems }: TestOutcome): RuleTrialOutcome {
  const raised = alerts.map(({ alert: { rule, severity, message }, times, event }) => ({
    rule,
    severity,
    message,
    times,
    event,
  }));
  return { name, line, rules, events, alerts: raised, problems };
}
