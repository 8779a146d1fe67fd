// The set-up in front of `npm start`, `npm test` and `npm run build`: installs what is missing and
// compiles what changed. With nothing to do it only looks, in a fraction of a second.
//   node scripts/setup.mjs [--quiet] [--tests] [--bench] [--all-architectures]
import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { allArchitectures, compileBpf } from './setup/bpf.mjs';
import { bundleSource } from './setup/bundle.mjs';
import { exclusively } from './setup/lock.mjs';
import { installPackages } from './setup/packages.mjs';
import { SetupError, beQuiet, say, steps } from './setup/project.mjs';
import { systemInstaller } from './setup/system.mjs';
import { writeTrackerDocs } from './setup/tracker-docs.mjs';
import { assembleContract, compileBench, compileSource, generateTypes, raiseApiVersion } from './setup/typescript.mjs';

/** Throws a SetupError that says what would be right. */
export async function setUp({ quiet = false, tests = false, bench = false, everyArchitecture = false } = {}) {
  if (quiet) beQuiet();
  const start = performance.now();
  checkNode();
  const installSystem = systemInstaller({ tests });
  await exclusively(async () => {
    const compileTypeScript = async () => {
      await assembleContract();
      await raiseApiVersion();
      await generateTypes();
      await compileSource();
      await bundleSource();
      if (bench) await compileBench();
    };
    // One waits for the network and the disk while the other computes. What fails is told once nothing is under way any more.
    const results = await Promise.allSettled([
      installSystem().then(() => compileBpf(everyArchitecture ? allArchitectures : undefined)),
      installPackages().then(compileTypeScript),
    ]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    await writeTrackerDocs();
  });
  const done = steps() === 0 ? 'nothing to do' : 'done';
  say(`${done} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (process.platform !== 'linux') throw new SetupError(`Eunomia traces Linux kernels; this is ${process.platform}.`);
  if (major < 20 || (major === 20 && minor < 19))
    throw new SetupError(`Node ${process.versions.node} is too old; Eunomia needs 20.19 or later.`);
}

/** Sets up or ends the process with one clear message. */
export async function setUpOrExit(options) {
  try {
    await setUp(options);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`set-up: ${error.message}\n`);
    process.exit(1);
  }
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      quiet: { type: 'boolean' },
      tests: { type: 'boolean' },
      bench: { type: 'boolean' },
      'all-architectures': { type: 'boolean' },
    },
  });
  await setUpOrExit({ ...values, everyArchitecture: values['all-architectures'] });
}
