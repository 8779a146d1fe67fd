import { lastingFacts } from './docker.js';
import type { ContainerFacts } from '../container.js';

export interface InspectorOptions {
  /** Asks the engine. Resolves with null when it does not know the container (404: normal for a short life); rejects when it fails. */
  readonly ask: (id: string) => Promise<ContainerFacts | null>;
  readonly onFacts: (facts: ContainerFacts) => void;
  /** The engine does not know this container. */
  readonly onAbsent: (id: string) => void;
}

interface Job {
  running: boolean;
  /** An event came meanwhile: what the response says of the state may be out of date. */
  overtaken: boolean;
  again: boolean;
  attempts: number;
}

const CONCURRENCY = 4;
const MAX_WAITING = 10_000;
const MAX_ATTEMPTS = 2;

/**
 * Inspects containers, each at most once at a time and a few at once, so that a burst of containers does not become a
 * burst on the engine. A container asked for while its response is on the way is asked for again.
 */
export class Inspector {
  readonly #options: InspectorOptions;
  readonly #jobs = new Map<string, Job>();
  #waiting: string[] = [];
  #running = 0;
  #generation = 0;

  constructor(options: InspectorOptions) {
    this.#options = options;
  }

  /** Takes no effect beyond 10,000 waiting containers: the next full list makes up for it. */
  request(id: string): void {
    const job = this.#jobs.get(id);
    if (job !== undefined) {
      if (job.running) job.again = true;
      return;
    }
    if (this.#waiting.length >= MAX_WAITING) return;
    this.#jobs.set(id, { running: false, overtaken: false, again: false, attempts: 0 });
    this.#waiting.push(id);
    this.#next();
  }

  /** An event has told newer facts than a response that is on its way. */
  overtake(id: string): void {
    const job = this.#jobs.get(id);
    if (job?.running === true) job.overtaken = true;
  }

  /** Forgets all requests; responses on their way are ignored. */
  clear(): void {
    this.#generation += 1;
    this.#jobs.clear();
    this.#waiting = [];
    this.#running = 0;
  }

  #next(): void {
    while (this.#running < CONCURRENCY) {
      const id = this.#waiting.shift();
      if (id === undefined) return;
      const job = this.#jobs.get(id);
      if (job === undefined) continue;
      this.#running += 1;
      void this.#run(id, job);
    }
  }

  async #run(id: string, job: Job): Promise<void> {
    const generation = this.#generation;
    job.running = true;
    job.attempts += 1;
    let facts: ContainerFacts | null | undefined;
    try {
      facts = await this.#options.ask(id);
    } catch {
      facts = undefined;
    }
    if (generation !== this.#generation) return;
    this.#running -= 1;
    const retry = facts === undefined && job.attempts < MAX_ATTEMPTS;
    if (job.again || retry) {
      Object.assign(job, { running: false, again: false, attempts: job.again ? 0 : job.attempts });
      this.#waiting.push(id);
    } else {
      this.#jobs.delete(id);
    }
    if (facts === null) this.#options.onAbsent(id);
    else if (facts !== undefined) this.#options.onFacts(job.overtaken ? lastingFacts(facts) : facts);
    job.overtaken = false;
    this.#next();
  }
}
