import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's top folder: both src/kernel and dist/kernel are two below it. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
