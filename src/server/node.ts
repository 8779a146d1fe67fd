import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../base/config.js';
import { messageOf } from '../base/errors.js';
import { openPrivate, privateDirectory } from '../base/file.js';
import type { Log } from '../base/log.js';
import type { NodeFacts } from '../event/node.js';

const FILE = 'node-id';
const ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Which server this is. The id is random, made at the first start and kept in the data directory; without a data
 * directory, or where its file cannot be used, it is one for this run, and a warning says so. Never rejects.
 */
export async function nodeOf(
  { dataDirectory, nodeName }: Pick<Config, 'dataDirectory' | 'nodeName'>,
  log: Log,
): Promise<NodeFacts> {
  const name = nodeName ?? hostname();
  if (dataDirectory === null) return { id: randomUUID(), name };
  try {
    return { id: await keptId(dataDirectory), name };
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'no lasting node id: this run has one of its own');
    return { id: randomUUID(), name };
  }
}

async function keptId(directory: string): Promise<string> {
  privateDirectory(directory);
  const path = join(directory, FILE);
  const file = await openPrivate(path, constants.O_RDWR | constants.O_CREAT);
  try {
    const kept = (await file.readFile('utf8')).trim();
    if (ID.test(kept)) return kept;
    if (kept !== '') throw new Error(`${path}: holds no node id; remove it, and the server makes a new one`);
    // New, or left empty by a crash before it was written.
    const id = randomUUID();
    await file.write(`${id}\n`, 0);
    await file.sync();
    return id;
  } finally {
    await file.close();
  }
}
