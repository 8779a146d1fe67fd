import { KernelError } from '../base/errors.js';
import { CHAIN_LENGTH, DISPATCHER, type CallPlan, type CallProgram } from './call-plan.js';
import { failure, later, loadLibbpf, loadLibc, u32 } from './libbpf.js';
import type { Link } from './link.js';

const TYPE_PROG_ARRAY = 3; // include/uapi/linux/bpf.h

/**
 * Programs of one hook of system calls, of which the kernel runs the first, and each goes on to the next (each_call.bpf.h). It is made
 * before the programs are loaded, which get its map, and their places as constants.
 */
export class Chain {
  readonly #name: string;
  readonly #members: CallPlan['chain'];
  #map: number;
  #live = true;

  private constructor(name: string, members: CallPlan['chain'], map: number) {
    this.#name = name;
    this.#members = members;
    this.#map = map;
  }

  /** `hook` is "enter" or "exit". Null where there is nothing to chain, and where the kernel has no such maps. */
  static make(hook: string, members: CallPlan['chain']): Chain | null {
    if (members.length === 0) return null;
    const name = `eu_chain_${hook}`;
    const map = loadLibbpf().map_create(TYPE_PROG_ARRAY, name, 4, 4, CHAIN_LENGTH, null);
    return map < 0 ? null : new Chain(name, members, map);
  }

  /** What an object of its programs is loaded with; null for another object. */
  partOf(
    object: number,
  ): { readonly map: string; readonly fd: number; readonly constants: Record<string, number> } | null {
    const at = this.#members.findIndex((one) => one !== DISPATCHER && one.object === object && !one.slots);
    return at < 0 ? null : { map: this.#name, fd: this.#map, constants: { [`${this.#name}_at`]: at } };
  }

  has(program: CallProgram): boolean {
    return this.#live && this.#members.includes(program);
  }

  /** The program that is attached; null where none goes on to others. */
  get head(): CallProgram | null {
    const [head] = this.#members;
    return this.#live && head && head !== DISPATCHER ? head : null;
  }

  /**
   * Whether the kernel takes all its programs; where it does not, the places stay empty, and each is attached by itself. Before any is
   * attached. `fdOf` returns a negative number for what is not loaded.
   */
  check(fdOf: (member: CallProgram | typeof DISPATCHER) => number): void {
    const [head, ...others] = this.#members.map(fdOf);
    try {
      if (head === undefined || head < 0)
        throw new KernelError(`chaining programs in ${this.#name}`, null, 'the first is not there');
      // At the place that no program goes on to.
      for (const fd of [head, ...others]) if (fd >= 0) this.#put(0, fd);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#live = false;
    }
    loadLibbpf().map_delete(this.#map, u32(0));
  }

  /** Has a program of the chain run; null for its first, and for others: they are to be attached. */
  place(member: (one: CallPlan['chain'][number]) => boolean, fd: number): Link | null {
    const at = this.#members.findIndex(member);
    if (at < 1 || !this.#live) return null;
    this.#put(at, fd);
    return { close: () => this.#clear(at) };
  }

  /** Its first program is detached for good: what is in the places does not run any more. */
  end(): void {
    this.#live = false;
  }

  /** The kernel empties it when it is nobody's. */
  close(): void {
    this.end();
    if (this.#map >= 0) loadLibc().close(this.#map);
    this.#map = -1;
  }

  #put(at: number, fd: number): void {
    const result = loadLibbpf().map_update(this.#map, u32(at), u32(fd), 0);
    if (result < 0) throw failure(`putting a program at place ${at} of ${this.#name}`, result);
  }

  /** The kernel waits for programs that are under way, once for each that goes on to the place. */
  async #clear(at: number): Promise<void> {
    if (this.#live) await later(loadLibbpf().map_delete, this.#map, u32(at));
  }
}
