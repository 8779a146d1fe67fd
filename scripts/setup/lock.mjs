// One set-up at a time in a checkout: two shells may run `npm start` and `npm test`.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cache, say } from './project.mjs';

const file = join(cache, 'setup.lock');

/** Waits for its turn, runs the work, and lets the next one in. A lock whose process is gone counts for nothing. */
export async function exclusively(work) {
  mkdirSync(cache, { recursive: true });
  for (let waited = 0; !take(); waited++) {
    if (waited === 0) say('waiting for another set-up in this checkout');
    await sleep(100);
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}

function take() {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    if (!holderLives()) rmSync(file, { force: true });
    return false;
  }
}

function holderLives() {
  try {
    const pid = Number(readFileSync(file, 'utf8'));
    // Empty: its holder is just writing its pid.
    return pid === 0 || process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}
