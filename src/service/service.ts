import type { Caller } from '../access/caller.js';
import type { Limits } from '../base/config.js';
import type { Log } from '../base/log.js';
import type { Metrics } from '../telemetry/prometheus/index.js';
import { Advices } from './advice/advise.js';
import { Alerts } from './alerts.js';
import { Backups } from './backups.js';
import { Containers } from './containers.js';
import { Exports } from './export.js';
import { Facts } from './facts.js';
import { Histories } from './history.js';
import { Nodes } from './nodes.js';
import type { Parts } from './parts.js';
import { Verifications } from './advice/verify.js';
import { Plugins } from './plugins.js';
import { Processes } from './processes.js';
import { Queries } from './saved-queries/queries.js';
import { Reports } from './reports.js';
import { Rules } from './rules/rules.js';
import { Sessions } from './sessions.js';
import { Snapshots } from './snapshots.js';

/**
 * All that can be asked of a server, for any protocol. Each use case takes its caller, checks the caller's role and all arguments,
 * and rejects with an EunomiaError. It knows no GraphQL operation, no request and no socket: protocols translate.
 */
export class Service {
  readonly facts: Facts;
  readonly sessions: Sessions;
  readonly histories: Histories;
  readonly reports: Reports;
  readonly exports: Exports;
  readonly backups: Backups;
  readonly plugins: Plugins;
  readonly alerts: Alerts;
  readonly queries: Queries;
  readonly rules: Rules;
  readonly snapshots: Snapshots;
  readonly processes: Processes;
  readonly containers: Containers;
  readonly advices: Advices;
  readonly verifications: Verifications;
  readonly nodes: Nodes;
  readonly limits: Limits;
  readonly log: Log;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.facts = new Facts(parts);
    this.sessions = new Sessions(parts);
    this.histories = new Histories(parts);
    this.reports = new Reports(parts, this.sessions, this.histories);
    this.exports = new Exports(parts, this.sessions, this.histories);
    this.backups = new Backups(parts);
    this.plugins = new Plugins(parts);
    this.alerts = new Alerts(parts);
    this.queries = new Queries(parts);
    this.rules = new Rules(parts, this.sessions);
    this.snapshots = new Snapshots(parts);
    this.processes = new Processes(parts, this.sessions, this.snapshots);
    this.containers = new Containers(parts, this.sessions);
    this.verifications = new Verifications(parts, this.sessions);
    this.advices = new Advices(parts, this);
    this.nodes = new Nodes(this);
    this.limits = parts.config.limits;
    this.log = parts.log;
  }

  /** What Prometheus scrapes, in the format that `accept` prefers. */
  metrics(_caller: Caller, accept: string | undefined): ReturnType<Metrics['expose']> {
    return this.#parts.metrics.expose(accept);
  }

  /** Ends all sessions, then what watches them, so that every reader sees the end. Nothing can be started any more. Idempotent. */
  async end(): Promise<void> {
    await this.verifications.end();
    await this.advices.end();
    await this.rules.end();
    await this.sessions.end();
    this.facts.end();
    this.#parts.alerts.end();
    this.snapshots.end();
  }
}
