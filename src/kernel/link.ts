import { later, loadLibbpf, type Pointer } from './libbpf.js';

/** A program in the kernel that is attached to a hook. `close()` is idempotent and detaches it. */
export class BpfLink {
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
