import { suggest } from '../../base/errors.js';
import { containerRows } from './container-field.js';
import { descriptorRows } from './descriptor-field.js';
import { eventRows } from './event-field.js';
import { processRows } from './process-field.js';
import type { CallVariant } from './call.js';
import type { ImportFacts, FieldRow } from './compare.js';
import { lost, type CelTree } from './expression.js';
import type { ResolvedCheck } from './resolve.js';

const MISSING: readonly (readonly [RegExp, string])[] = [
  [/^proc\.(?:ppid\.duration|pid\.ts|ppid\.ts)$/, 'only the age of the process itself is compared'],
  [/^proc\.is_exe_(?:upper|lower)_layer$/, 'the layer of an executable in its image is not known'],
  [/^proc\.is_exe_writable$/, 'whether an executable can be written is not known'],
  [/^proc\.exe_ino/, 'the inode of an executable is not in the events'],
  [/^proc\.env|^proc\.aenv/, 'environments are not captured'],
  [
    /^proc\.(?:p|s|a)?(?:sid|vpgid|pgid|vpid|pvpid|sname|is_\w+_leader|loginshellid)/,
    'sessions and groups of processes are not in the events',
  ],
  [/^user\.login|^user\.(?:homedir|shell)/, 'the login of a user is not in the events'],
  [
    /^container\.(?:mounts?|healthcheck|liveness|readiness|duration|start_ts|cni|host_)/,
    'this is not known of containers',
  ],
  [/^k8s\./, 'of pods the name, the namespace and the uid are known'],
  [/^(?:ka|jevt|aws|ct|gcp|okta|github)\./, 'it is of another source of events than system calls'],
  [
    /^fd\.(?:uid|dev|ino|types|nlink|count|ip\.name|lport\.name|is_upper|is_lower|containername|containerdirectory|proto|cproto|sproto|rproto|lproto)/,
    'it is not in the events',
  ],
  [
    /^evt\.(?:args|info|buffer|category|cpu|time|rawtime|latency|hostname|count|abspath|io|is_io|is_wait|is_syslog|asynctype|plugin)/,
    'it is not in the events',
  ],
];

export const fieldRows: readonly FieldRow[] = [...eventRows, ...processRows, ...containerRows, ...descriptorRows];
const byName: ReadonlyMap<string, FieldRow> = new Map(
  fieldRows.flatMap((row) => row.names.map((name) => [name, row] as const)),
);

/** What a comparison of Falco is of these events. That of the event type is not asked for. */
export function translateCheck(check: ResolvedCheck, variant: CallVariant, facts: ImportFacts): CelTree {
  const { field, other } = check;
  if (other) return lost(check.text, 'compares two fields');
  const found = rowOf(field.name);
  if (!found)
    return lost(
      check.text,
      MISSING.find(([pattern]) => pattern.test(field.name))?.[1] ??
        `no field of ours has it${suggest(field.name, byName.keys())}`,
    );
  const [row, argumentOfName] = found;
  const named = argumentOfName === null ? check : { ...check, field: { ...field, argument: argumentOfName } };
  const made = row.compare(named, variant, facts);
  // What has no counterpart is told as it was written.
  return made.kind === 'lost'
    ? { ...made, check: check.text }
    : named.kind === 'check'
      ? withCheck(made, check.text)
      : made;
}

function withCheck(expression: CelTree, check: string): CelTree {
  switch (expression.kind) {
    case 'lost':
      return { ...expression, check };
    case 'and':
    case 'or':
      return { ...expression, of: expression.of.map((inner) => withCheck(inner, check)) };
    case 'not':
      return { ...expression, of: withCheck(expression.of, check) };
    default:
      return expression;
  }
}

function rowOf(name: string): readonly [FieldRow, argument: string | null] | null {
  const exact = byName.get(name);
  if (exact) return [exact, null];
  const [, prefix = '', rest = ''] = /^(evt\.(?:raw)?arg|container\.label|k8s\.pod\.label)\.(.+)$/.exec(name) ?? [];
  const row = byName.get(prefix);
  return row ? [row, prefix === 'container.label' ? rest : null] : null;
}
