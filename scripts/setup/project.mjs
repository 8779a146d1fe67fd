// What the set-up steps share: the project's folder, content hashes, the stamps of what was
// done, messages, child processes. Node built-ins only: this runs before `npm ci`.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
export const cache = join(root, '.cache');

/** A step that cannot go on: the message says what would be right; no stack trace is shown. */
export class SetupError extends Error {}

let quiet = false;
let said = 0;

/** On stderr, so that stdout belongs to what runs after the set-up. */
export function say(message) {
  said++;
  if (!quiet) process.stderr.write(`set-up: ${message}\n`);
}

export function beQuiet() {
  quiet = true;
}

/** How many steps had something to do. */
export function steps() {
  return said;
}

/** The files under a folder that pass, as sorted paths relative to the project. */
export function filesUnder(folder, passes = () => true) {
  const absolute = join(root, folder);
  if (!existsSync(absolute)) return [];
  return readdirSync(absolute, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && passes(entry.name))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

/** Whether a file of src/ is part of the product: its tests are not. */
export function isSource(name) {
  return name.endsWith('.ts') && !name.endsWith('.test.ts');
}

/** Changes when a file's content, the list of files, or one of `others` does. */
export function hashOf(files, ...others) {
  const hash = createHash('sha256');
  for (const file of files) {
    const content = existsSync(join(root, file)) ? readFileSync(join(root, file)) : '';
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.update(JSON.stringify(others)).digest('hex').slice(0, 32);
}

const stampFile = join(cache, 'setup.json');

function readStamps() {
  try {
    return JSON.parse(readFileSync(stampFile, 'utf8'));
  } catch {
    return {};
  }
}

/** Whether the step was done with this very input and its outputs are still there. */
export function isDone(step, hash, outputs) {
  return readStamps()[step] === hash && outputs.every((output) => existsSync(join(root, output)));
}

export function markDone(step, hash) {
  const stamps = { ...readStamps(), [step]: hash };
  mkdirSync(dirname(stampFile), { recursive: true });
  writeFileSync(`${stampFile}.new`, `${JSON.stringify(stamps, null, 2)}\n`);
  renameSync(`${stampFile}.new`, stampFile);
}

/** Runs a program without standard input; returns its exit code and, unless shown, its output. */
export function run(program, args, { env = {}, show = false } = {}) {
  return new Promise((resolve, reject) => {
    const out = show ? 2 : 'pipe'; // what is shown goes to stderr too
    const child = spawn(program, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', out, out] });
    let output = '';
    child.stdout?.on('data', (chunk) => (output += chunk));
    child.stderr?.on('data', (chunk) => (output += chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ ok: code === 0, how: signal ?? `exit code ${code}`, output }));
  });
}

/** Runs a program of node_modules with this Node. */
export function runTool(name, args) {
  return run(process.execPath, [join(root, 'node_modules/.bin', name), ...args]);
}

/** Where a program is in PATH, or null. */
export function which(program) {
  const folders = (process.env.PATH ?? '').split(':').filter(Boolean);
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path)) ?? null;
}
