import { Kind, type DocumentNode, type OperationDefinitionNode, type SelectionSetNode } from 'graphql';
import { roles, type Role } from '../base/config.js';
import { EunomiaError } from '../base/errors.js';

/** What only some roles may do, by the name of its mutation, or of the query or route. All else a viewer may. */
const needed = {
  startSession: 'operator',
  updateSession: 'operator',
  stopSession: 'operator',
  removeSession: 'operator',
  trace: 'operator',
  saveQuery: 'operator',
  deleteQuery: 'operator',
  acknowledgeAlert: 'operator',
  resolveAlert: 'operator',
  reopenAlert: 'operator',
  commentAlert: 'operator',
  silence: 'operator',
  endSilence: 'operator',
  attachPlugin: 'operator',
  detachPlugin: 'operator',
  backup: 'operator',
  loadPlugin: 'admin',
  reloadPlugin: 'admin',
  unloadPlugin: 'admin',
  loadRules: 'admin',
  unloadRules: 'admin',
  checkRules: 'operator',
  testRules: 'operator',
  verifyAdvice: 'admin',
} as const satisfies Readonly<Record<string, Role>>;

export type GuardedOperation = keyof typeof needed;

/** No mutations: a viewer is told which of the queries needs more. */
const others: ReadonlySet<string> = new Set<GuardedOperation>(['backup', 'checkRules', 'testRules']);

export function isAtLeast(role: Role, least: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(least);
}

/** Why a role does not include a mutation: FORBIDDEN; null when it does. One that the table does not name needs an operator. */
export function refusalOf(mutation: string, role: Role): EunomiaError | null {
  const least: Role = isGuarded(mutation) ? needed[mutation] : 'operator';
  if (isAtLeast(role, least)) return null;
  const isAdmin = least === 'admin';
  const what = isAdmin || others.has(mutation) ? `${mutation} needs` : 'mutations need';
  const may = role === 'viewer' ? 'query and subscribe' : 'start and stop sessions, save queries and handle alerts';
  const how = isAdmin
    ? '; start the server with --token admin:SECRET, or better a line of --tokens-file, and send that token'
    : '';
  return new EunomiaError('FORBIDDEN', `${what} the role ${least}; you have the role ${role}, which may ${may}${how}`, {
    details: { role, needed: least },
  });
}

function isGuarded(mutation: string): mutation is GuardedOperation {
  return Object.hasOwn(needed, mutation);
}

/**
 * Throws FORBIDDEN before anything of the operation has run. The use cases check again: this is the early, complete
 * refusal of a document.
 */
export function checkRole(document: DocumentNode, operation: OperationDefinitionNode, role: Role): void {
  if (operation.operation !== 'mutation') return;
  const refused = [...fieldsOf(operation.selectionSet, document)].flatMap((name) => refusalOf(name, role) ?? []);
  const first = refused.find(({ details }) => details['needed'] === 'admin') ?? refused[0];
  if (first) throw first;
}

/** Names of the top fields, those of fragments too; what @skip leaves out counts. */
function* fieldsOf(
  { selections }: SelectionSetNode,
  document: DocumentNode,
  seen = new Set<string>(),
): Generator<string> {
  for (const node of selections) {
    if (node.kind === Kind.FIELD) yield node.name.value;
    else if (node.kind === Kind.INLINE_FRAGMENT) yield* fieldsOf(node.selectionSet, document, seen);
    else if (!seen.has(node.name.value)) {
      seen.add(node.name.value);
      const fragment = document.definitions.find(
        (each) => each.kind === Kind.FRAGMENT_DEFINITION && each.name.value === node.name.value,
      );
      if (fragment?.kind === Kind.FRAGMENT_DEFINITION) yield* fieldsOf(fragment.selectionSet, document, seen);
    }
  }
}
