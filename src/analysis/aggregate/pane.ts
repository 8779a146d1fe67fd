import type { Work } from '../../base/turn.js';
import { makeState, stateKey, type Measure } from './measures/index.js';
import type { Result, State } from './measures/state.js';
import type { AggregateSpec } from './spec.js';
import type { Cell, KeyValue } from './value.js';

/** Groups that are merged in one piece: each may have sixteen sketches. */
const PIECE = 32;

/** The events of a pane, a stretch of time, that have the same values. */
export class Group {
  /** Null for the group that sums up those that are not told apart. */
  readonly key: readonly KeyValue[] | null;
  readonly states: readonly State[];
  count = 0;
  /** Since the last `takeChanged` of its pane. */
  changed = false;

  constructor(key: readonly KeyValue[] | null, states: readonly State[]) {
    this.key = key;
    this.states = states;
  }

  merge(other: Group): void {
    this.count += other.count;
    this.states.forEach((state, i) => {
      const theirs = other.states[i];
      if (theirs) state.merge(theirs);
    });
  }

  get bytes(): number {
    return this.states.reduce((sum, state) => sum + state.bytes, 160);
  }
}

/** A step on the way to a group: the values of the fields up to here. */
class Node {
  below: Map<KeyValue, Node> | null = null;
  group: Group | null = null;
}

/** How groups of a specification are made and read. */
export class GroupFactory {
  readonly maxGroups: number;
  /** One measure for each state. */
  readonly #states: readonly Measure[];
  readonly #measures: readonly (readonly [measure: Measure, state: number])[];

  constructor({ measures, maxGroups }: AggregateSpec) {
    this.maxGroups = maxGroups;
    const keys = [...new Set(measures.map(stateKey))];
    this.#measures = measures.map((measure) => [measure, keys.indexOf(stateKey(measure))]);
    this.#states = keys.flatMap((key) => measures.find((measure) => stateKey(measure) === key) ?? []);
  }

  /** The field that each state of a group takes; null takes none. */
  get fields(): (string | null)[] {
    return this.#states.map(({ field }) => field);
  }

  make(key: readonly KeyValue[] | null): Group {
    return new Group(key, this.#states.map(makeState));
  }

  /** The value of a measure, by its place in the specification. `seconds`: as in `Totals`. */
  resultOf({ states, count }: Group, index: number, seconds: number | null): Result {
    const [measure, at] = this.#measures[index] ?? [];
    const state = measure && states[at ?? 0];
    if (!state) throw new RangeError(`the aggregate has no measure ${index}`);
    return state.result({ count, seconds }, measure);
  }
}

/**
 * The groups of one stretch of time. A group is found by one map for each field, so that nothing is allocated for an event
 * of a group that is there.
 */
export class Pane {
  readonly #factory: GroupFactory;
  readonly #root = new Node();
  readonly groups: Group[] = [];
  other: Group | null = null;
  /** Events in it, by weight, and each once. */
  count = 0;
  events = 0;
  readonly #changed: Group[] = [];

  constructor(factory: GroupFactory) {
    this.#factory = factory;
  }

  /** The group of a key, made where there is room; else the one for all others. `key` is copied. */
  find(key: readonly KeyValue[], full: boolean): Group {
    let node = this.#root;
    for (let i = 0; i < key.length; i++) {
      const next = node.below?.get(key[i] ?? null);
      if (!next) return this.#admit(key, full);
      node = next;
    }
    return node.group ?? this.#admit(key, full);
  }

  /** Takes an event into a group of this pane. */
  take(group: Group, cells: readonly Cell[], cellOf: readonly number[], weight: number): void {
    this.count += weight;
    this.events++;
    group.count += weight;
    for (let i = 0; i < cellOf.length; i++) {
      const cell = cells[cellOf[i] ?? -1];
      if (cell) group.states[i]?.add(cell, weight);
    }
    if (!group.changed) {
      group.changed = true;
      this.#changed.push(group);
    }
  }

  /** Takes in all of another pane. */
  *merging(other: Pane): Work<void> {
    this.count += other.count;
    this.events += other.events;
    let groups = 0;
    for (const group of other.groups) {
      if (group.key) this.find(group.key, false).merge(group);
      if (++groups % PIECE === 0) yield;
    }
    if (other.other) this.#rest().merge(other.other);
  }

  /** Groups that changed since they were last taken, at most so many; the others come with the next call. */
  takeChanged(most: number): Group[] {
    const changed = this.#changed.splice(0, most);
    for (const group of changed) group.changed = false;
    return changed;
  }

  get hasChanged(): boolean {
    return this.#changed.length > 0;
  }

  get bytes(): number {
    return this.groups.reduce((sum, group) => sum + group.bytes, 200 + (this.other?.bytes ?? 0));
  }

  #admit(key: readonly KeyValue[], full: boolean): Group {
    if (full || this.groups.length >= this.#factory.maxGroups) return this.#rest();
    let node = this.#root;
    for (const value of key) {
      const below = (node.below ??= new Map<KeyValue, Node>());
      let next = below.get(value);
      if (!next) below.set(value, (next = new Node()));
      node = next;
    }
    const group = this.#factory.make([...key]);
    node.group = group;
    this.groups.push(group);
    return group;
  }

  #rest(): Group {
    return (this.other ??= this.#factory.make(null));
  }
}
