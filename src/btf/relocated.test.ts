import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { objectPath } from '../../test/support/record.js';
import { parseBpfFile } from './btf.js';
import { relocatedTypes } from './relocated.js';

it('tells the types of the kernel that an object is relocated by, without what is behind three underscores', () => {
  const bytes = readFileSync(objectPath('open'));
  const names = relocatedTypes(bytes, parseBpfFile(bytes, 'open.bpf.o').types);
  for (const name of ['task_struct', 'dentry', 'mount', 'io_kiocb', 'pt_regs']) expect(names).toContain(name);
  for (const name of ['open_event', 'eu_header', 'task_struct___x86']) expect(names).not.toContain(name);
});
