import { readFileSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { serveChannel } from '../base/channel.js';
import { parseMaps, readCapture, type RecordedStack } from './capture.js';
import { Modules } from './modules.js';
import type { StackAsk, SymbolProtocol } from './protocol.js';
import { describeStack } from './text.js';
import type { ProcessMapping } from './unwind.js';

/** The thread that unwinds stacks and reads the files of programs for it: the server serves others meanwhile. */

const port = parentPort;
if (!port) throw new Error('stacks are unwound in a thread of their own');

const modules = new Modules();

function describe({ captured, mountNs, pid, others, at }: StackAsk): string[] {
  const stack = readCapture(captured);
  if (!stack) return ['(cut: the stack could not be captured)'];
  const mappings = stack.isMapped ? stack.mappings : (mappingsOf(pid, stack) ?? stack.mappings);
  return describeStack({ ...stack, mappings }, { mountNs, pids: [pid, ...others], at }, modules);
}

/** Of a process that lives, where the kernel did not tell. */
function mappingsOf(pid: number, { address }: RecordedStack): readonly ProcessMapping[] | null {
  try {
    const mappings = parseMaps(readFileSync(`/proc/${pid}/maps`, 'utf8'));
    // Else it runs another program by now, or another process has its number.
    return mappings.some(({ start, end }) => address >= start && address < end) ? mappings : null;
  } catch {
    return null;
  }
}

serveChannel<SymbolProtocol>(
  port,
  { asks: { describe: (stacks) => stacks.map(describe) }, posts: {} },
  { code: 'INTERNAL_SERVER_ERROR' },
);
