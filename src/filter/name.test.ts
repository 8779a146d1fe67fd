import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema } from 'graphql';
import { expect, it } from 'vitest';
import { root } from '../base/paths.js';
import { Catalog } from '../catalog/catalog.js';
import { loadTrackers } from '../catalog/load.js';
import { FilterFields, parseCel, parseInput } from './index.js';

const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));
const fields = new FilterFields(schema, new Catalog(schema, await loadTrackers(), () => false));
const cel = (text: string) => () => parseCel(text, fields, ['privilege']);
const input = (privilege: unknown) => () => parseInput({ privilege }, fields, ['privilege']);

it('a filter that compares with a name that there is not is refused, with near ones', () => {
  const far = 'is no capability';
  const near = '"CAP_SYS_ADMINS" is no capability; did you mean "CAP_SYS_ADMIN"';
  expect(cel('"CAP_SYS_ADMINS" in capabilitiesGained')).toThrow(near);
  expect(cel('capEffectiveAfter.exists(c, c == "CAP_SYS_ADMINS")')).toThrow(near);
  expect(cel('!capEffectiveAfter.exists(c, c in ["CAP_BPF", "SYS_NOTHING_OF_THIS"])')).toThrow(far);
  expect(input({ capabilitiesLost: { has: 'CAP_SYS_ADMINS' } })).toThrow(near);
  expect(input({ capAmbientBefore: { any: { in: ['CAP_BPF', 'CAP_SYS_ADMINS'] } } })).toThrow(near);
  expect(cel('command == "PTRACE_ATACH"')).toThrow('"PTRACE_ATACH" is no command; did you mean "PTRACE_ATTACH"');
  expect(cel('privilegeCall == "SETIUD"')).toThrow('did you mean "SETUID"');
  expect(cel('privilegeOperation == "SETUID"')).toThrow('did you mean "SET_UID"');
});

it('names that there are, numbers in their place, and patterns are not refused', () => {
  for (const text of [
    '"CAP_SYS_ADMIN" in capabilitiesGained',
    '"CAP_63" in capabilitiesGained',
    'capEffectiveAfter.exists(c, c.startsWith("CAP_SYS"))',
    'command == "PR_999"',
    'command.startsWith("PTRACE_AT")',
    'command == null',
  ])
    expect(cel(text)).not.toThrow();
});
