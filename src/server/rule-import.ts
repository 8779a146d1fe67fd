import { contractSchema } from '../api/graphql/schema.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { FilterFields } from '../filter/index.js';
import { readHosts, readUsers } from '../rules/falco/facts.js';
import { importFalco, reportOf } from '../rules/falco/import.js';

interface Named {
  readonly name: string;
  readonly text: string;
}

export interface FalcoImport {
  readonly files: readonly Named[];
  readonly users: Named | null;
  readonly hosts: string | null;
  readonly approximate: boolean;
}

/** Translates rule files of Falco: needs neither BPF nor root. Rejects with BAD_USER_INPUT for what is no file of rules. */
export async function importRules({
  files,
  users,
  hosts,
  approximate,
}: FalcoImport): Promise<{ text: string; report: string; count: number }> {
  const schema = contractSchema();
  const catalog = new Catalog(schema, await loadTrackers(), () => false);
  const facts = {
    users: users && readUsers(users.text, users.name),
    hosts: hosts === null ? new Map() : readHosts(hosts),
  };
  const context = { catalog, fields: new FilterFields(schema, catalog) };
  const imported = importFalco(files, { ...facts, approximate }, context);
  const count = imported.rules.reduce((sum, { names }) => sum + names.length, 0);
  return { text: imported.text, report: reportOf(imported), count };
}
