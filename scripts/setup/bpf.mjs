// bpf/*.bpf.c and bpf/trackers/*.bpf.c → dist/bpf/ARCHITECTURE/, each only when it, a header or the compiler changed.
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { findClang } from './clang.mjs';
import { SetupError, filesUnder, hashOf, isDone, markDone, root, run, say } from './project.mjs';

const targets = { x64: 'x86', arm64: 'arm64' };

/** `architectures` as Node names them: this machine's, or all for a package. */
export async function compileBpf(architectures = [process.arch]) {
  for (const architecture of architectures) await compileFor(architecture);
}

export const allArchitectures = Object.keys(targets);

async function compileFor(architecture) {
  const target = targets[architecture];
  if (!target)
    throw new SetupError(
      `no BPF build for the architecture ${architecture}; there is one for ${allArchitectures.join(' and ')}.`,
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
    step: `${architecture} ${source}`,
    object: join('dist/bpf', architecture, source.replace(/^bpf\//, '').replace(/\.c$/, '.o')),
    hash: hashOf([source, ...headers], flags, clang.identity),
  }));
  removeOthers(architecture, units);
  const changed = units.filter(({ step, object, hash }) => !isDone(step, hash, [object]));
  if (!changed.length) return;
  say(
    `compiling ` +
      `${changed.length} of ${units.length} BPF ` +
      `programs${architecture === process.arch ? '' : ` for ${architecture}`} with clang ${clang.version}`,
  );

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

/** Returns what went wrong, or null. */
async function compile(clang, flags, { source, step, object, hash }) {
  mkdirSync(join(root, dirname(object)), { recursive: true });
  // A server that runs meanwhile never sees half an object.
  const { ok, how, output } = await run(clang, [...flags, '-c', source, '-o', `${object}.new`]);
  if (!ok) {
    rmSync(join(root, `${object}.new`), { force: true });
    return `${source} does not compile (${how}):\n${output.trim()}`;
  }
  renameSync(join(root, `${object}.new`), join(root, object));
  markDone(step, hash);
  return null;
}

/** Objects whose source is gone would be taken for trackers; clang's own temporary files are what a set-up that was killed leaves. */
function removeOthers(architecture, units) {
  const kept = new Set(units.map(({ object }) => object));
  for (const file of filesUnder(join('dist/bpf', architecture))) {
    if (!kept.has(file)) rmSync(join(root, file));
  }
}
