import type { ASTNode } from '@marcbachmann/cel-js';
import type { Scalar } from './ast.js';
import { parseSyntax } from './cel-syntax.js';

/** A condition with a name. */
export interface Macro {
  /** CEL. */
  readonly text: string;
  /** What messages call it, with its place. */
  readonly path: string;
}

/** What an expression may name besides fields. Cycles have been refused. */
export interface Definitions {
  readonly macros: ReadonlyMap<string, Macro>;
  readonly lists: ReadonlyMap<string, readonly Scalar[]>;
  /** Whether it may read the table of processes where there is none: who evaluates it leaves it out then. */
  readonly readsProcesses: boolean;
}

const parsed = new WeakMap<Macro, ASTNode>();

/** A macro's syntax, parsed once however often it is named. Throws BAD_USER_INPUT for a text that is no CEL. */
export function syntaxOf(macro: Macro): ASTNode {
  const known = parsed.get(macro);
  if (known) return known;
  const made = parseSyntax(macro.text, macro.path);
  parsed.set(macro, made);
  return made;
}

/** The names in an expression that may be those of macros or lists. Throws BAD_USER_INPUT for a text that is no CEL. */
export function namesIn(macro: Macro): ReadonlySet<string> {
  const names = new Set<string>();
  const walk = (part: unknown, bound: ReadonlySet<string>): void => {
    if (Array.isArray(part)) return part.forEach((inner) => walk(inner, bound));
    if (!isNode(part)) return;
    if (part.op === 'id') return void (bound.has(part.args) || names.add(part.args));
    if (part.op === 'rcall' && part.args[0] === 'exists') {
      const [, receiver, [variable, ...rest]] = part.args;
      walk(receiver, bound);
      return walk(rest, variable?.op === 'id' ? new Set([...bound, variable.args]) : bound);
    }
    walk(part.args, bound);
  };
  walk(syntaxOf(macro), new Set());
  return names;
}

function isNode(part: unknown): part is ASTNode {
  return typeof part === 'object' && part !== null && 'op' in part && 'args' in part;
}
