import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { expect, it } from 'vitest';
import { callsInProgress } from '../../src/service/advice/live-facts.js';
import { nativeAbi } from '../../src/linux/syscalls.js';
import { itNarrow } from '../support/narrow.js';
import { until } from '../support/until.js';
import { compileC } from '../support/workload.js';

/** Reads from its standard input, by the number that is "close" in the 64-bit table. */
const READS = `
void _start(void)
{
	long result;
	char byte;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(3), "b"(0), "c"(&byte), "d"(1) : "memory");
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(1), "b"(0) : "memory");
	for (;;) ;
}
`;

async function callsOf(program: string, ...args: readonly string[]): Promise<readonly (string | null)[]> {
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = once(child, 'exit');
  let last: readonly (string | null)[] = [];
  try {
    await until('it reads', async () => {
      const calls = await callsInProgress(String(child.pid));
      last = calls.flatMap(({ name, abi, argument }) => [name, abi, String(argument)]);
      return last.includes('read');
    });
    return last;
  } finally {
    child.stdin.end();
    await ended;
  }
}

it('names the call that a process is in', async () => {
  expect(await callsOf('cat')).toEqual(['read', nativeAbi, 'null']);
});

itNarrow('names that of a 32-bit program by its table', async () => {
  const flags = ['-m32', '-ffreestanding', '-fno-stack-protector', '-fno-pic', '-nostdlib', '-static'];
  expect(await callsOf(await compileC('reads-narrow', READS, ...flags))).toEqual(['read', 'I386', 'null']);
});
