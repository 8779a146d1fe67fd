import { destination, pino, type Logger } from 'pino';
import { visibleLines } from './visible.js';

export type Log = Logger;

/**
 * Logs JSON lines to stderr: stdout belongs to a command's output. Names of containers and plugins are in them, and a
 * terminal shows them. Level "silent" logs nothing.
 */
export function createLog(level: string): Log {
  return pino({ level, base: undefined, hooks: { streamWrite: visibleLines } }, destination({ dest: 2, sync: true }));
}
