import type { BtfType } from './btf.js';
import { readSections, viewOf } from './elf.js';

/** struct bpf_core_relo of include/uapi/linux/bpf.h: insn_off, type_id, access_str_off, kind. */
const RELOCATION_BYTES = 16;
const TYPE_AT = 4;
/** Behind .BTF.ext's header of 24 bytes, where it is longer. */
const RELOCATIONS_AT = 24;

/** The kernel's types that an object's relocations look for, by name. `types`: the object's own. */
export function relocatedTypes(object: Uint8Array, types: readonly BtfType[]): ReadonlySet<string> {
  const names = new Set<string>();
  const extension = readSections(object).find(({ name }) => name === '.BTF.ext');
  if (!extension) return names;
  const view = viewOf(object);
  const header = view.getUint32(extension.offset + 4, true);
  if (header < RELOCATIONS_AT + 8) return names;
  let at = extension.offset + header + view.getUint32(extension.offset + RELOCATIONS_AT, true);
  const end = at + view.getUint32(extension.offset + RELOCATIONS_AT + 4, true);
  for (at += 4; at < end;) {
    const count = view.getUint32(at + 4, true);
    at += 8;
    for (let i = 0; i < count; i++, at += RELOCATION_BYTES) {
      const name = types[view.getUint32(at + TYPE_AT, true)]?.name.replace(/___.*/, ''); // what is behind it is for the compiler
      if (name) names.add(name);
    }
  }
  return names;
}
