import { closeSync } from 'node:fs';
import { identityOf, Module } from './module.js';
import { Place, type OpenFile, type Whereabouts } from './place.js';
import type { ProcessMapping } from './unwind.js';

const MAX_BYTES = 64 << 20;
const MAX_MODULES = 512;
/** Where no process of a mount namespace is left, its files are taken for what they were for so long. */
const TRUSTED_MS = 10_000;

/** The modules that are known, the latest used last; as many as fit. */
export class Modules {
  readonly #maxBytes: number;
  readonly #byIdentity = new Map<string, Module>();
  readonly #trusted = new Map<string, { readonly module: Module; readonly until: number }>();

  constructor(maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** What is kept, in bytes. */
  get byteLength(): number {
    return [...this.#byIdentity.values()].reduce((sum, module) => sum + module.byteLength, 0);
  }

  /** Those of one process, until `close`. */
  of(where: Whereabouts): ProcessModules {
    return new ProcessModules(this, where);
  }

  trusted(key: string): Module | null {
    const known = this.#trusted.get(key);
    if (!known || known.until < performance.now()) return null;
    this.#touch(known.module);
    return known.module;
  }

  opened(key: string, file: OpenFile): Module {
    const module = this.#byIdentity.get(identityOf(file.stat)) ?? new Module(file);
    this.#trusted.delete(key);
    this.#trusted.set(key, { module, until: performance.now() + TRUSTED_MS });
    this.#touch(module);
    return module;
  }

  /** Drops what was used longest ago, as far as there is too much. */
  trim(): void {
    let bytes = this.byteLength;
    for (const [identity, module] of this.#byIdentity) {
      if (bytes <= this.#maxBytes && this.#byIdentity.size <= MAX_MODULES) break;
      bytes -= module.byteLength;
      this.#byIdentity.delete(identity);
    }
    for (const [key, { module, until }] of this.#trusted)
      if (until < performance.now() || !this.#byIdentity.has(module.identity)) this.#trusted.delete(key);
  }

  #touch(module: Module): void {
    this.#byIdentity.delete(module.identity);
    this.#byIdentity.set(module.identity, module);
  }
}

/** The modules of one process. Files are opened when something of them is to be read that is not known, and closed by `close`. */
export class ProcessModules {
  readonly #modules: Modules;
  readonly #where: Whereabouts;
  readonly #used = new Map<string, Module | null>();
  #place: Place | null | undefined;
  /** For the files behind the overlays of a container that has ended. */
  #own: Place | null | undefined;

  constructor(modules: Modules, where: Whereabouts) {
    this.#modules = modules;
    this.#where = where;
  }

  /** Null for a file that cannot be read here. */
  of(mapping: ProcessMapping): Module | null {
    const { path, inode } = mapping;
    if (path === null) return null;
    const key = `${this.#where.mountNs}:${inode}:${path}`;
    const used = this.#used.get(key);
    if (used !== undefined) return used;
    const file = this.#file(path, mapping);
    // Where somebody can look, a file is not what it was: paths and numbers of inodes are given anew.
    const module = file ? this.#modules.opened(key, file) : this.#place ? null : this.#modules.trusted(key);
    module?.use(() => this.#reopen(module, path, mapping), file?.fd ?? null);
    this.#used.set(key, module);
    return module;
  }

  close(): void {
    for (const module of this.#used.values()) module?.close();
    this.#place?.close();
    this.#own?.close();
    this.#place = this.#own = null;
    this.#used.clear();
    this.#modules.trim();
  }

  #reopen(module: Module, path: string, mapping: ProcessMapping): number | null {
    const file = this.#file(path, mapping);
    if (file && identityOf(file.stat) === module.identity) return file.fd;
    if (file) closeSync(file.fd);
    return null;
  }

  #file(path: string, { inode, real }: ProcessMapping): OpenFile | null {
    this.#place = this.#place === undefined ? Place.open(this.#where) : this.#place;
    let file = this.#place?.file(path, inode) ?? null;
    if (!file && real) {
      this.#own = this.#own === undefined ? Place.own() : this.#own;
      file = this.#own?.realFile(real) ?? null;
    }
    if (!file || !this.#isChanged(file)) return file;
    closeSync(file.fd);
    return null;
  }

  /** A time that is still to come says nothing: the clock was set back. */
  #isChanged({ stat }: OpenFile): boolean {
    const changed = Number(stat.ctimeMs);
    return changed > (this.#where.at ?? Number.POSITIVE_INFINITY) && changed <= Date.now();
  }
}
