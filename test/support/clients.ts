import { execFile, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../../src/base/paths.js';
import { start } from './workload.js';

const exec = promisify(execFile);
const sources = join(root, 'test/clients');

/**
 * Installs the clients of others that test/clients/package-lock.json names, once for each state of it. They are no dependencies of the
 * project: most of their bytes are relay-compiler's. Returns the folder with them and our scripts.
 */
export async function installClients(): Promise<string> {
  const lock = await readFile(join(sources, 'package-lock.json'));
  const folder = join(root, '.cache/clients', createHash('sha256').update(lock).digest('hex').slice(0, 16));
  const exists = await stat(folder).then(
    () => true,
    () => false,
  );
  if (!exists) {
    await rm(join(root, '.cache/clients'), { recursive: true, force: true });
    const made = `${folder}.${process.pid}`;
    await mkdir(made, { recursive: true });
    for (const name of ['package.json', 'package-lock.json']) await cp(join(sources, name), join(made, name));
    await exec('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: made, maxBuffer: 16 << 20 });
    await rename(made, folder); // all of it is there, or nothing
  }
  await cp(sources, folder, { recursive: true });
  return folder;
}

/** Runs a script of test/clients to its end. Resolves with the JSON that it prints; rejects with what it says on stderr. */
export async function runClient<Result>(folder: string, script: string, args: readonly string[]): Promise<Result> {
  const { stdout } = await exec(process.execPath, [join(folder, script), ...args], {
    cwd: folder,
    maxBuffer: 64 << 20,
    timeout: 120_000,
  });
  return JSON.parse(stdout) as Result;
}

/** Starts a script of test/clients that goes on until it is told to end. */
export function startClient(folder: string, script: string, args: readonly string[]): ChildProcess {
  return start(process.execPath, [join(folder, script), ...args], { cwd: folder, stdio: ['pipe', 'pipe', 'pipe'] });
}
