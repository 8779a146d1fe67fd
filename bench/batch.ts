import { createApp } from '#eunomia/server/app.js';
import type { App } from '#eunomia/server/compose.js';
import { defaultConfig } from '#eunomia/base/config.js';
import type { CaptureMode } from '#eunomia/event/event.js';
import { createLog } from '#eunomia/base/log.js';
import type { Session } from '#eunomia/session/session.js';
import type { TrackerOptions } from '#eunomia/tracker/define.js';
import type { Tracer } from './ladder.js';
import { RING_BYTES } from './peer.js';

/** Eunomia in this process, without a listener: the kernel thread, its programs, sessions and their batches. */
export class LocalEunomia {
  readonly #app: App;

  private constructor(app: App) {
    this.#app = app;
  }

  /** `plugins` is a directory of trusted ones. */
  static async start(plugins: string | null = null): Promise<LocalEunomia> {
    return new LocalEunomia(await createApp({ ...defaultConfig, engines: [], plugins }, createLog('silent')));
  }

  get plugins(): App['parts']['plugins'] {
    return this.#app.parts.plugins;
  }

  get alerts(): App['parts']['alerts'] {
    return this.#app.parts.alerts;
  }

  /** A session of the open tracker that watches one process and captures these fields besides the header. */
  async trace(pid: number, fields: readonly ('path' | 'resolved')[]): Promise<Tracer> {
    const session = await this.session('open', pid, 'DEMANDED', fields);
    return {
      settle: async () => {
        const { delivered, lost } = await session.stats();
        return { received: delivered, lost, at: performance.now() };
      },
      close: () => this.remove(session),
    };
  }

  /** A session of one tracker that watches one process, or all of them when `pid` is null. */
  session(
    tracker: string,
    pid: number | null,
    capture: CaptureMode,
    fields: readonly string[] = [],
    options: TrackerOptions = {},
    ringBytes = RING_BYTES,
  ): Promise<Session> {
    return this.#app.parts.manager.start({
      trackers: [{ name: tracker, options }],
      target:
        pid === null
          ? null
          : {
              containers: [],
              waitForContainers: false,
              cgroups: [],
              pids: [pid],
              descendants: false,
              uids: [],
              comms: [],
            },
      where: null,
      capture,
      fields,
      forMs: null,
      name: null,
      labels: [],
      ttlMs: null,
      bufferBytes: 32 << 20,
      ringBytes,
      limit: null,
      persist: null,
      asked: null,
    });
  }

  remove(session: Session): Promise<void> {
    return this.#app.parts.manager.remove(session.id);
  }

  close(): Promise<void> {
    return this.#app.close();
  }
}
