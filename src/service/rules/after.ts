import type { Alert } from '../../alerts/alert.js';
import type { AlertBook } from '../../alerts/book.js';
import type { TraceEvent } from '../../event/event.js';
import { AlertWriter } from '../../rules/alert.js';
import type { RuleContext } from '../../rules/compile.js';
import { nearOf } from './around.js';

/** For how long, how many events and how much of them is gathered after an alert. */
const FOR_MS = 5000;
const MOST = 20;
const MAX_BYTES = 32 << 10;
/** Alerts at once. Each event of a rule is looked up while there are any. */
const MOST_AT_ONCE = 32;
/** Of them of one rule, so that its storm leaves the others their part. */
const MOST_OF_RULE = 8;

interface Gathering {
  readonly alert: Alert;
  readonly near: string;
  readonly events: string[];
  bytes: number;
  readonly timer: NodeJS.Timeout;
}

/** Gathers what happens in the container, or outside of containers in the process, right after an alert: what came of it. */
export class EventsAfterAlerts {
  readonly #book: Pick<AlertBook, 'setAfter'>;
  readonly #writer: AlertWriter;
  readonly #forMs: number;
  readonly #byNear = new Map<string, Set<Gathering>>();
  #size = 0;
  /** Alerts after which nothing was gathered, since there were too many. */
  skipped = 0;

  constructor(book: Pick<AlertBook, 'setAfter'>, { catalog, idOf }: RuleContext, forMs = FOR_MS) {
    this.#book = book;
    this.#writer = new AlertWriter(catalog, idOf);
    this.#forMs = forMs;
  }

  /** Called with a new alert. */
  begin(alert: Alert): void {
    const { process, container } = alert;
    if (!process) return;
    const near = nearOf({ process, container });
    const ofRule = [...this.#byNear.values()].flatMap((some) =>
      [...some].filter((one) => one.alert.rule === alert.rule),
    );
    const tooMany =
      this.#size >= MOST_AT_ONCE
        ? `they are gathered after ${MOST_AT_ONCE} alerts at once, which is the most`
        : ofRule.length >= MOST_OF_RULE
          ? `they are gathered after ${MOST_OF_RULE} alerts of a rule at once, which is the most`
          : null;
    this.#book.setAfter(alert, { events: '[]', isGathering: tooMany === null, problem: tooMany });
    if (tooMany !== null) return void this.skipped++;
    const some = this.#byNear.get(near) ?? new Set();
    const timer = setTimeout(() => this.#end(gathering, null), this.#forMs).unref();
    const gathering: Gathering = { alert, near, events: [], bytes: 0, timer };
    this.#byNear.set(near, some.add(gathering));
    this.#size++;
  }

  /** Called with each event that rules see, before it is evaluated: an alert's own one is not after it. */
  see(event: TraceEvent): void {
    if (this.#size === 0) return;
    const some = this.#byNear.get(nearOf(event));
    if (!some) return;
    const text = JSON.stringify(this.#writer.nearby(event));
    const bytes = Buffer.byteLength(text);
    for (const gathering of some) {
      if (gathering.bytes + bytes > MAX_BYTES) {
        this.#end(
          gathering,
          `only the first ${gathering.events.length} are kept: all have more than ${MAX_BYTES >> 10} KiB`,
        );
        continue;
      }
      gathering.bytes += bytes;
      if (gathering.events.push(text) === MOST) this.#end(gathering, null);
    }
  }

  /** Ends all: the server ends. */
  close(): void {
    for (const some of this.#byNear.values())
      for (const gathering of some) this.#end(gathering, 'the server ended before they were gathered');
  }

  #end(gathering: Gathering, problem: string | null): void {
    const { alert, near, events, timer } = gathering;
    clearTimeout(timer);
    const some = this.#byNear.get(near);
    if (!some?.delete(gathering)) return;
    if (some.size === 0) this.#byNear.delete(near);
    this.#size--;
    this.#book.setAfter(alert, { events: `[${events.join(',')}]`, isGathering: false, problem });
  }
}
