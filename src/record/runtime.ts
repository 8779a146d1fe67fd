import { readFile } from 'node:fs/promises';
import { EunomiaError, messageOf } from '../base/errors.js';
import { parseBpfFile } from '../btf/btf.js';
import type { UnloadedPrograms } from '../catalog/unloaded.js';
import { compileLayout, type RecordLayout } from '../btf/layout.js';
import type { ObjectSpec } from '../kernel/object-spec.js';
import { objectPath } from '../base/paths.js';
import { snakeCase } from '../base/names.js';
import type { Constant, TrackerDefinition, TrackerOptions } from '../tracker/define.js';
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
  /** Fields of the event that are captured on demand only. */
  readonly onDemand: readonly string[];
  objectSpec(options: TrackerOptions): ObjectSpec;
}

/** Reads the tracker's object file. Rejects with BAD_OBJECT where it is missing or does not fit the definition. */
export async function createRuntime(definition: TrackerDefinition): Promise<TrackerRuntime> {
  const stem = snakeCase(definition.name);
  const path = objectPath(`trackers/${stem}`);
  const file = parseBpfFile(
    await readFile(path).catch((error: unknown) => {
      throw new EunomiaError(
        'BAD_OBJECT',
        `the tracker ${definition.name} was not compiled (npm run build): ${messageOf(error)}`,
      );
    }),
    path,
  );
  const layout = compileLayout(file, stem);
  checkHeader(layout);
  const computed = definition.fields ?? {};
  const captureOf = (field: string): bigint =>
    (computed[field]?.from ?? [field]).reduce((mask, name) => {
      const bit = layout.captures.get(name);
      return bit === undefined ? mask : mask | (1n << BigInt(bit));
    }, 0n);
  const hooksBut = (unneeded: readonly string[]): string[] =>
    [
      ...new Set(
        [...file.programs]
          .filter(([name]) => !name.startsWith('follow_') && !unneeded.includes(name))
          .map(([, section]) => section),
      ),
    ].sort();
  return {
    definition,
    layout,
    view: compileView(definition, layout),
    hooks: hooksBut([]),
    hooksOf: (options, { missing, refused } = { missing: [], refused: [] }) =>
      hooksBut([...(definition.unneeded?.(options) ?? []), ...missing, ...refused.map(({ program }) => program)]),
    captureOf,
    allCaptures: [...layout.captures.values()].reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n),
    onDemand: [...new Set([...layout.fields.keys(), ...Object.keys(computed)])].filter(
      (field) => captureOf(field) !== 0n,
    ),
    objectSpec: (options) => ({
      name: definition.name,
      path,
      constants: definition.constants?.(options) ?? plainConstants(options),
      unneeded: definition.unneeded?.(options) ?? [],
      demanded: Object.fromEntries(
        Object.entries(definition.demanded ?? {}).map(([program, field]) => [program, captureOf(field)]),
      ),
      ...(definition.optional ? { optional: definition.optional } : {}),
      ...(definition.kernelAggregate ? { aggregatesEveryMs: definition.kernelAggregate.everyMs(options) } : {}),
    }),
  };
}

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
        `${layout.tracker}: struct eu_header has ${name} elsewhere than pipeline/batch.ts; build again`,
      );
    }
  }
}
