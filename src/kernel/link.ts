import { later, loadLibbpf, loadLibc, type Pointer } from './libbpf.js';

/** A program in the kernel that is attached to a hook. `close()` is idempotent and detaches it. */
export interface Link {
  close(): Promise<void>;
}

/** A link that libbpf holds. */
export class BpfLink implements Link {
  #link: Pointer | null;

  constructor(link: Pointer) {
    this.#link = link;
  }

  async close(): Promise<void> {
    const link = this.#link;
    this.#link = null;
    if (link !== null) await later(loadLibbpf().link_destroy, link);
  }
}

/** A link that its file descriptor alone holds. */
export class FdLink implements Link {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async close(): Promise<void> {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) await later(loadLibc().close, fd);
  }
}
