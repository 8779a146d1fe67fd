import { readFileSync } from 'node:fs';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { createLog } from '../../src/base/log.js';
import { Catalog } from '../../src/catalog/catalog.js';
import { FilterFields } from '../../src/filter/index.js';
import { ProcessGraph } from '../../src/graph/graph.js';
import { ClockWatch } from '../../src/kernel/clock.js';
import type { RuleAlert } from '../../src/rules/alert.js';
import { compileRules, type RuleSet } from '../../src/rules/compile.js';
import { RuleEngine } from '../../src/rules/engine.js';
import type { RuleSource } from '../../src/rules/format.js';
import type { SessionStats, TargetSpec } from '../../src/session/spec.js';
import type { TrackerOptions } from '../../src/tracker/define.js';
import { createHarness } from './session.js';
import { specOf } from './spec.js';

/** Rules on the events of a real session of all of their trackers, without a server. */
export interface RuleWatch {
  readonly engine: RuleEngine;
  readonly alerts: readonly RuleAlert[];
  /** What was raised again, and is combined with one of the alerts. */
  readonly repeated: readonly RuleAlert[];
  readonly rules: RuleSet;
  /** Ends the session; what it counted. Idempotent. */
  close(): Promise<SessionStats>;
}

/** Of trackers whose events would be too many: what the rules look for. */
const OPTIONS: Readonly<Record<string, TrackerOptions>> = {
  syscall: { only: ['io_uring_setup'] },
  capability: { capabilities: ['CAP_NET_RAW'] },
};

/** `target`: what is watched; by default the whole machine. */
export async function watchRules(
  sources: readonly RuleSource[],
  docker: string,
  target: Partial<TargetSpec> = {},
): Promise<RuleWatch> {
  const { kernel, registry, trackers, manager, close } = await createHarness({ engine: docker });
  const schema = contractSchema();
  const catalog = new Catalog(
    schema,
    [...trackers.values()].map(({ definition }) => definition),
    (tracker, field) => trackers.get(tracker)?.onDemand.includes(field) ?? false,
  );
  const clock = new ClockWatch();
  const graph = new ProcessGraph({
    kernel,
    registry,
    log: createLog('error'),
    limitBytes: 32 << 20,
    clock: () => clock.offset(),
    boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
  });
  await graph.start();
  catalog.lineage = graph.lineage;
  const context = { catalog, fields: new FilterFields(schema, catalog) };
  const rules = compileRules(sources, context);
  const demand = new Map<string, Set<string>>();
  for (const rule of rules.rules)
    for (const [tracker, read] of rule.demand) demand.set(tracker, new Set([...(demand.get(tracker) ?? []), ...read]));
  const alerts: RuleAlert[] = [];
  const repeated: RuleAlert[] = [];
  const engine = new RuleEngine(rules.rules, context, {
    raise: (alert) => void alerts.push(alert),
    repeat: (_known, renew) => void repeated.push(renew()),
    failed: (rule, error) => {
      throw new Error(`the rule ${rule} has failed`, { cause: error });
    },
  });
  const session = await manager.start(
    specOf(
      engine.trackers.map((name) => ({ name, options: OPTIONS[name] ?? {} })),
      { bufferBytes: 64 << 20, ringBytes: 64 << 20 },
      target,
    ),
  );
  const stream = session.subscribe({ demand });
  const reading = (async () => {
    for await (const { events } of stream) {
      await graph.lineage.ready();
      for (const event of events) engine.evaluate(event);
    }
  })();
  const end = async (): Promise<SessionStats> => {
    await manager.stop(session.id);
    await reading;
    const stats = await session.stats();
    await graph.close();
    await close();
    return stats;
  };
  let closing: Promise<SessionStats> | null = null;
  return {
    engine,
    alerts,
    repeated,
    rules,
    close: () => (closing ??= end()),
  };
}
