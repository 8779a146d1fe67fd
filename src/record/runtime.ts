import { readFileSync } from 'node:fs';
import { EunomiaError, messageOf } from '../base/errors.js';
import { parseBpfFile, type BpfFile } from '../btf/btf.js';
import type { UnloadedPrograms } from '../catalog/unloaded.js';
import { compileLayout, type RecordLayout } from '../btf/layout.js';
import type { ObjectSpec } from '../kernel/object-spec.js';
import { objectPath } from '../base/paths.js';
import { snakeCase } from '../base/names.js';
import type { CallPrograms, Constant, TrackerDefinition, TrackerOptions } from '../tracker/define.js';
import { callSlots, watchedSlots } from '../tracker/watched-calls.js';
import { headerOffsets } from './batch.js';
import { compileView, type EventView } from './view.js';

/** A tracker's definition joined with what its compiled object says: ready to be loaded by sessions. */
export interface TrackerRuntime {
  readonly definition: TrackerDefinition;
  readonly layout: RecordLayout;
  readonly view: EventView;
  /** Hooks as libbpf names them. */
  readonly hooks: readonly string[];
  /** Those that a session with these options attaches, where some optional programs are not loaded. */
  hooksOf(options: TrackerOptions, unloaded?: UnloadedPrograms): readonly string[];
  /** The capture bits that a field of the event needs; 0 for one that is always captured. */
  captureOf(field: string): bigint;
  /** All capture bits. */
  readonly allCaptures: bigint;
  /** Those that sessions capture by DEFAULT: all but the costly ones. */
  readonly usualCaptures: bigint;
  /** Fields of the event that are captured on demand only. */
  readonly onDemand: readonly string[];
  objectSpec(options: TrackerOptions): ObjectSpec;
}

/**
 * The object file is read when something of it is asked for, at once: of thirty trackers, most commands and servers use few. What is
 * asked for then throws BAD_OBJECT where the file is missing or does not fit the definition.
 */
export function createRuntime(definition: TrackerDefinition): TrackerRuntime {
  return new ObjectRuntime(definition);
}

class ObjectRuntime implements TrackerRuntime {
  readonly definition: TrackerDefinition;
  readonly #stem: string;
  readonly #path: string;
  #file: BpfFile | null = null;
  #layout: RecordLayout | null = null;
  #view: EventView | null = null;
  #allCaptures: bigint | null = null;
  #onDemand: readonly string[] | null = null;

  constructor(definition: TrackerDefinition) {
    this.definition = definition;
    this.#stem = snakeCase(definition.name);
    this.#path = objectPath(`trackers/${this.#stem}`);
  }

  get layout(): RecordLayout {
    if (!this.#layout) {
      const layout = compileLayout(this.#read(), this.#stem);
      checkHeader(layout);
      this.#layout = layout;
    }
    return this.#layout;
  }

  get view(): EventView {
    return (this.#view ??= compileView(this.definition, this.layout));
  }

  get hooks(): readonly string[] {
    return this.#hooksBut([]);
  }

  get allCaptures(): bigint {
    return (this.#allCaptures ??= [...this.layout.captures.values()].reduce(
      (mask, bit) => mask | (1n << BigInt(bit)),
      0n,
    ));
  }

  get usualCaptures(): bigint {
    return (this.definition.costly ?? []).reduce((mask, field) => mask & ~this.captureOf(field), this.allCaptures);
  }

  get onDemand(): readonly string[] {
    if (!this.#onDemand) {
      const fields = [...this.layout.fields.keys(), ...Object.keys(this.definition.fields ?? {})];
      this.#onDemand = [...new Set(fields)].filter((field) => this.captureOf(field) !== 0n);
    }
    return this.#onDemand;
  }

  hooksOf(options: TrackerOptions, { missing, refused }: UnloadedPrograms = { missing: [], refused: [] }) {
    const unneeded = this.definition.unneeded?.(options) ?? [];
    return this.#hooksBut([...unneeded, ...missing, ...refused.map(({ program }) => program)]);
  }

  captureOf(field: string): bigint {
    return (this.definition.fields?.[field]?.from ?? [field]).reduce((mask, name) => {
      const bit = this.layout.captures.get(name);
      return bit === undefined ? mask : mask | (1n << BigInt(bit));
    }, 0n);
  }

  objectSpec(options: TrackerOptions): ObjectSpec {
    const {
      name,
      constants: made,
      unneeded,
      demanded = {},
      atCallEntry,
      atCallExit,
      optional,
      kernelAggregate,
    } = this.definition;
    const constants = made?.(options) ?? plainConstants(options);
    return {
      name,
      path: this.#path,
      constants,
      unneeded: unneeded?.(options) ?? [],
      demanded: Object.fromEntries(
        Object.entries(demanded).map(([program, field]) => [program, this.captureOf(field)]),
      ),
      ...(atCallEntry || atCallExit ? { calls: callsOf({ atCallEntry, atCallExit }, constants) } : {}),
      ...(optional ? { optional } : {}),
      ...(kernelAggregate ? { aggregatesEveryMs: kernelAggregate.everyMs(options) } : {}),
    };
  }

  #hooksBut(unneeded: readonly string[]): readonly string[] {
    const programs = [...this.#read().programs];
    const attached = programs.filter(([name]) => !name.startsWith('follow_') && !unneeded.includes(name));
    return [...new Set(attached.map(([, section]) => section))].sort();
  }

  #read(): BpfFile {
    return (this.#file ??= parseBpfFile(bytesOf(this.definition, this.#path), this.#path));
  }
}

function bytesOf({ name }: TrackerDefinition, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new EunomiaError('BAD_OBJECT', `the tracker ${name} was not compiled (npm run build): ${messageOf(error)}`);
  }
}

function callsOf(
  { atCallEntry = {}, atCallExit = {} }: Pick<TrackerDefinition, 'atCallEntry' | 'atCallExit'>,
  constants: Readonly<Record<string, Constant>>,
): NonNullable<ObjectSpec['calls']> {
  const all = [...hooked('tp_btf/sys_enter', atCallEntry), ...hooked('tp_btf/sys_exit', atCallExit)];
  return Object.fromEntries(
    all.map(({ program, hook, names }) => [
      program,
      { hook, slots: names === 'each' ? null : names ? callSlots(names) : watchedSlots(constants) },
    ]),
  );
}

const hooked = (hook: string, programs: CallPrograms) =>
  Object.entries(programs).map(([program, names]) => ({ program, hook, names }));

/** Each option that was given is the constant of its name. */
function plainConstants(options: TrackerOptions): Record<string, Constant> {
  return Object.fromEntries(
    Object.entries(options)
      .filter((entry): entry is [string, Constant] => ['boolean', 'number', 'bigint'].includes(typeof entry[1]))
      .map(([name, value]) => [snakeCase(name), value]),
  );
}

/** Batches read a few header fields without a view; their places must be the object's. */
function checkHeader(layout: RecordLayout): void {
  for (const [name, offset] of Object.entries(headerOffsets)) {
    if (layout.header.get(name)?.offset !== offset) {
      throw new EunomiaError(
        'BAD_OBJECT',
        `${layout.tracker}: struct eu_header has ${name} elsewhere than src/record/batch.ts; build again`,
      );
    }
  }
}
