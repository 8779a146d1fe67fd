import { watch, type FSWatcher } from 'node:fs';

/** A file that an editor writes in several steps is read once. */
const SETTLE_MS = 150;
/** Changes that the kernel does not tell of (a file system of another machine) are found so late. */
const LOOK_EVERY_MS = 1500;

export interface FolderWatchOptions {
  readonly directory: string;
  /** Called some time after something in the folder has changed; one call at a time. */
  readonly look: () => Promise<void>;
  /** Called with what `look` rejects with, and once where changes are not told of any more. */
  readonly onError: (error: unknown, what: string) => void;
  /** Whether to look all the time, for file systems that tell of nothing; otherwise only where the kernel cannot watch. */
  readonly always: boolean;
}

/** Looks at a folder whenever something in it changes. */
export class FolderWatch {
  readonly #options: FolderWatchOptions;
  #watcher: FSWatcher | null = null;
  #settling: NodeJS.Timeout | null = null;
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: FolderWatchOptions) {
    this.#options = options;
    try {
      this.#watcher = watch(options.directory, { persistent: false }, () => {
        if (this.#settling) clearTimeout(this.#settling);
        this.#settling = setTimeout(this.#look, SETTLE_MS).unref();
      });
      this.#watcher.on('error', (error) => this.#unwatched(error));
      if (options.always) this.#lookAlways();
    } catch (error) {
      this.#unwatched(error);
    }
  }

  /** Resolves when it looks no more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#watcher?.close();
    if (this.#settling) clearTimeout(this.#settling);
    if (this.#timer) clearInterval(this.#timer);
    await this.#looking;
  }

  #unwatched(error: unknown): void {
    this.#options.onError(error, `watching ${this.#options.directory}; it is read now and then`);
    this.#lookAlways();
  }

  #lookAlways(): void {
    this.#timer ??= setInterval(this.#look, LOOK_EVERY_MS).unref();
  }

  readonly #look = (): void => {
    this.#looking = this.#looking
      .then(() => (this.#isClosed ? undefined : this.#options.look()))
      .catch((error: unknown) => this.#options.onError(error, `reading ${this.#options.directory}`));
  };
}
