// npm packages, exactly as package-lock.json has them.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SetupError, root, run, say, which } from './project.mjs';

export async function installPackages() {
  if (isInstalled()) return;
  say('installing npm packages');
  // Without install scripts: koffi, esbuild and the TypeScript compiler ship their binaries inside
  // packages; the others (ssh2, cpu-features) are accelerators that we do not need (docs/decisions/000).
  const args = ['ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund'];
  const npm = findNpm();
  const { ok, how, output } = await run(npm.program, [...npm.args, ...args], { show: false });
  if (!ok) throw new SetupError(`"npm ${args.join(' ')}" failed (${how}):\n${output.trim()}`);
}

/** npm writes node_modules/.package-lock.json last: when it has each package of the lock at its version, all is there. */
function isInstalled() {
  const there = packagesOf('node_modules/.package-lock.json');
  const wanted = packagesOf('package-lock.json');
  if (!wanted) throw new SetupError('package-lock.json is missing or damaged: this is no whole checkout.');
  if (!there) return false;
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    // An optional package may be one for another machine.
    return there[path] ? there[path].version === version : optional === true;
  });
}

function packagesOf(lock) {
  try {
    return JSON.parse(readFileSync(join(root, lock), 'utf8')).packages;
  } catch {
    return null;
  }
}

/** The npm that started us, or the one beside this Node. */
function findNpm() {
  const executed = process.env.npm_execpath;
  if (executed && /npm-cli\.[cm]?js$/.test(executed) && existsSync(executed))
    return { program: process.execPath, args: [executed] };
  const beside = join(dirname(process.execPath), 'npm');
  const program = existsSync(beside) ? beside : which('npm');
  if (!program) throw new SetupError('npm is missing; it comes with Node, or on Debian: apt-get install -y npm');
  return { program, args: [] };
}
