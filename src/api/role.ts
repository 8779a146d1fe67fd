import { Kind, type DocumentNode, type OperationDefinitionNode, type SelectionSetNode } from 'graphql';
import { roles, type Role } from '../config.js';
import { EunomiaError } from '../errors.js';

/** Mutations that put code into the server. */
const ADMIN = new Set(['loadPlugin', 'unloadPlugin', 'reloadPlugin']);

export function isAtLeast(role: Role, needed: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(needed);
}

/** Throws FORBIDDEN before anything of the operation has run. */
export function checkRole(document: DocumentNode, operation: OperationDefinitionNode, role: Role): void {
  if (operation.operation !== 'mutation') return;
  const fields = [...fieldsOf(operation.selectionSet, document)];
  const admin = fields.find((name) => ADMIN.has(name));
  const needed: Role = admin === undefined ? 'operator' : 'admin';
  if (isAtLeast(role, needed)) return;
  const what = admin === undefined ? 'mutations need' : `${admin} needs`;
  const may = role === 'viewer' ? 'query and subscribe' : 'start and stop sessions';
  const how =
    admin === undefined
      ? ''
      : '; start the server with --token admin:SECRET, or better a line of --tokens-file, and send that token';
  throw new EunomiaError('FORBIDDEN', `${what} the role ${needed}; you have the role ${role}, which may ${may}${how}`, {
    details: { role, needed },
  });
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
