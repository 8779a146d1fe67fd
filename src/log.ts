import { destination, pino, type Logger } from 'pino';

export type Log = Logger;

/** Logs JSON lines to stderr: stdout belongs to a command's answer. Level "silent" logs nothing. */
export function createLog(level: string): Log {
  return pino({ level, base: undefined }, destination({ dest: 2, sync: true }));
}
