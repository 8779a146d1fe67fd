import { textOfBytes } from '../base/bytes.js';
import { viewOf, type ElfMachine } from './image.js';
import { wordAt } from './reader.js';
import { registers, type CapturedStack, type ProcessMapping } from './unwind.js';

// struct eu_stack_head and struct eu_mapping of bpf/include/stack.bpf.h
const HEAD_BYTES = 280;
const MAPPING_BYTES = 56;
const MACHINES: readonly (ElfMachine | null)[] = [null, 'X86_64', 'AARCH64'];
const MAPPINGS_READ = 1;
const MAPPINGS_CUT = 2;

/** A stack as its record has it. */
export interface RecordedStack extends CapturedStack {
  /** False where the kernel could not tell the process's mappings, or not all of them. */
  readonly isMapped: boolean;
}

/** Null for bytes that are no captured stack. */
export function readCapture(bytes: Uint8Array): RecordedStack | null {
  if (bytes.length < HEAD_BYTES) return null;
  const view = viewOf(bytes);
  const machine = MACHINES[view.getUint8(1)];
  const flags = view.getUint8(2);
  const count = view.getUint16(4, true);
  const length = view.getUint32(8, true);
  if (!machine || HEAD_BYTES + length > bytes.length) return null;
  const numbers = Float64Array.from({ length: registers[machine].count }, (_, i) =>
    i < 32 ? wordAt(view, 24 + 8 * i) : Number.NaN,
  );
  if (machine === 'X86_64') numbers[16] = Number.NaN; // the return address is in no register
  const memory = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
  const mappings = readMappings(bytes, HEAD_BYTES + aligned(length), count);
  const isMapped = (flags & (MAPPINGS_READ | MAPPINGS_CUT)) === MAPPINGS_READ;
  return { machine, address: wordAt(view, 16), registers: numbers, memory, mappings, isMapped };
}

function readMappings(bytes: Uint8Array, from: number, count: number): ProcessMapping[] {
  const view = viewOf(bytes);
  const mappings: ProcessMapping[] = [];
  for (let at = from; mappings.length < count && at + MAPPING_BYTES <= bytes.length;) {
    const pathEnd = at + MAPPING_BYTES + view.getUint32(at + 40, true);
    const end = pathEnd + view.getUint32(at + 44, true);
    if (end > bytes.length) break;
    const device = view.getUint32(at + 48, true);
    mappings.push({
      start: wordAt(view, at),
      end: wordAt(view, at + 8),
      offset: wordAt(view, at + 16),
      inode: wordAt(view, at + 24),
      path: pathEnd > at + MAPPING_BYTES ? textOfBytes(bytes, at + MAPPING_BYTES, pathEnd) : null,
      real:
        end > pathEnd
          ? {
              path: textOfBytes(bytes, pathEnd, end),
              inode: wordAt(view, at + 32),
              device: `${device >>> 20}:${device & 0xfffff}`,
            }
          : null,
    });
    at = aligned(end);
  }
  return mappings;
}

const aligned = (bytes: number): number => Math.ceil(bytes / 8) * 8;

/** The executable mappings that /proc/PID/maps tells of: "start-end r-xp offset dev inode   path". */
export function parseMaps(text: string): ProcessMapping[] {
  return text.split('\n').flatMap((line) => {
    const found = /^([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ (\d+) *(.*)$/.exec(line);
    if (!found) return [];
    const [, start = '', end = '', offset = '', inode, path = ''] = found;
    const isFile = path.startsWith('/');
    return [
      {
        start: Number.parseInt(start, 16),
        end: Number.parseInt(end, 16),
        offset: Number.parseInt(offset, 16),
        inode: Number(inode),
        path: isFile ? path : null,
      },
    ];
  });
}
