/** Tests of rules: events in, alerts expected out. */
export { type TestContext } from './event.js';
export { readTests, type Recordings, type RuleTest } from './file.js';
export { TestProcesses } from './process.js';
export { runTest, type TrialAlert, type TestOutcome } from './run.js';
export { needRule, runTests, type RuleTests, type TrialContext } from './suite.js';
