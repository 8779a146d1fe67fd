// bpf/*.bpf.c and bpf/trackers/*.bpf.c → dist/bpf/, each only when it, a header or the compiler changed.
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { findClang } from './clang.mjs';
import { SetupError, filesUnder, hashOf, isDone, markDone, root, run, say } from './project.mjs';

const targets = { x64: 'x86', arm64: 'arm64' };

export async function compileBpf() {
  const target = targets[process.arch];
  if (!target)
    throw new SetupError(
      `no BPF build for the architecture ${process.arch}; there is one for ${Object.keys(targets).join(' and ')}.`,
    );
  const clang = findClang();
  const flags = [
    '-g',
    '-O2',
    '-target',
    'bpf',
    '-mcpu=v3',
    `-D__TARGET_ARCH_${target}`,
    '-Wall',
    '-Werror',
    '-Ibpf/include',
  ];
  const headers = filesUnder('bpf', (name) => name.endsWith('.h'));
  const sources = filesUnder('bpf', (name) => name.endsWith('.bpf.c'));
  const units = sources.map((source) => ({
    source,
    object: join('dist', source.replace(/\.c$/, '.o')),
    hash: hashOf([source, ...headers], flags, clang.identity),
  }));
  removeOthers(units);
  const changed = units.filter(({ source, object, hash }) => !isDone(source, hash, [object]));
  if (!changed.length) return;
  say(`compiling ${changed.length} of ${units.length} BPF programs with clang ${clang.version}`);

  const failures = [];
  const work = [...changed];
  const worker = async () => {
    for (let unit = work.shift(); unit; unit = work.shift()) {
      const failure = await compile(clang.path, flags, unit);
      if (failure) failures.push(failure);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  if (failures.length) throw new SetupError(failures.join('\n'));
}

/** Answers what went wrong, or null. */
async function compile(clang, flags, { source, object, hash }) {
  mkdirSync(join(root, dirname(object)), { recursive: true });
  // A server that runs meanwhile never sees half an object.
  const { ok, how, output } = await run(clang, [...flags, '-c', source, '-o', `${object}.new`]);
  if (!ok) {
    rmSync(join(root, `${object}.new`), { force: true });
    return `${source} does not compile (${how}):\n${output.trim()}`;
  }
  renameSync(join(root, `${object}.new`), join(root, object));
  markDone(source, hash);
  return null;
}

/** Objects whose source is gone would be taken for trackers. */
function removeOthers(units) {
  const kept = new Set(units.map(({ object }) => object));
  for (const file of filesUnder('dist/bpf', (name) => name.endsWith('.bpf.o'))) {
    if (!kept.has(file)) rmSync(join(root, file));
  }
}
