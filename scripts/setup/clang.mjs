// Finds the compiler for BPF.
import { spawnSync } from 'node:child_process';
import { realpathSync, statSync } from 'node:fs';
import { which } from './project.mjs';

/** The first with all that our sources use: BTF type tags and CO-RE enum relocations. */
export const oldestClang = 14;
const newestClang = 30;

let found;

/** The newest clang in PATH: { path, version, identity }, or null when there is none that is new enough. */
export function findClang() {
  found ??= search(); // not remembered while there is none: it may be installed in between
  return found;
}

function search() {
  const names = ['clang'];
  for (let version = newestClang; version >= oldestClang; version--) names.push(`clang-${version}`);
  const candidates = names.flatMap((name) => {
    const path = which(name);
    if (!path) return [];
    const real = realpathSync(path);
    const { size, mtimeMs } = statSync(real);
    return [{ path, version: versionOf(real), identity: [real, size, mtimeMs] }];
  });
  return candidates.filter(({ version }) => version >= oldestClang).sort((a, b) => b.version - a.version)[0] ?? null;
}

/** Debian's path tells it; asking the compiler takes a tenth of a second. */
function versionOf(real) {
  const told = /\/llvm-(\d+)\/|clang-(\d+)$/.exec(real);
  if (told) return Number(told[1] ?? told[2]);
  const { stdout } = spawnSync(real, ['--version'], { encoding: 'utf8' });
  return Number(/version (\d+)\./.exec(stdout ?? '')?.[1] ?? 0);
}
