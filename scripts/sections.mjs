// BPF programs only watch. Those on tracepoints cannot refuse anything; what a program of a cgroup or a socket returns decides about
// packets and calls, so that only EU_CGROUP_PROGRAM (bpf/include/cgroup.bpf.h) may define one, which returns "allowed".
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesUnder, root } from './setup/project.mjs';

const DEFINES_ANY = 'bpf/include/cgroup.bpf.h';
/** Maps, licence, data; and the hooks, and iterators, that a program cannot refuse anything at. */
const HARMLESS = /^(?:\.maps|license|\.data\.\w+|tp_btf\/\w+|iter\/\w+)$/;

/** A sentence for each section of the file that may hold a program that refuses something. */
export function refusals(file, text) {
  if (file === DEFINES_ANY) return [];
  const found = [];
  for (const match of text.matchAll(/\bSEC\s*\(\s*([^)]*?)\s*\)|\b(?:__)?section(?:__)?\s*\(([^)]*)\)/g)) {
    const section = match[1] ?? match[2];
    if (HARMLESS.test(/^"([^"]*)"(?: #\w+)?$/.exec(section)?.[1] ?? '')) continue; // of a macro: what ends in its argument, too
    const line = text.slice(0, match.index).split('\n').length;
    found.push(
      `${file}:${line}: ${match[0]}: a program there could refuse what it only has to watch; ` +
        `for cgroup… and sockops use EU_CGROUP_PROGRAM (${DEFINES_ANY})`,
    );
  }
  return found;
}

export function checkSections() {
  return filesUnder('bpf', (name) => /\.[ch]$/.test(name)).flatMap((file) =>
    refusals(file, readFileSync(join(root, file), 'utf8')),
  );
}
