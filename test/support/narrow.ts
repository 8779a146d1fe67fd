import { expect, it } from 'vitest';
import { compileC, run, type Ended } from './workload.js';

/** A 32-bit getpid in a 64-bit program. */
const GETPID = `
int main(void) {
	int pid;
	asm volatile("int $0x80" : "=a"(pid) : "a"(20) : "memory");
	return pid > 0 ? 0 : 1;
}
`;

let tried: Promise<Ended> | null = null;

/**
 * A test of 32-bit calls of x86. Some virtual machines run 64-bit code only, whatever their kernel's configuration: there it
 * says so, and holds that a program which makes such a call is killed, so that there is nothing to see.
 */
export function itNarrow(name: string, test: () => Promise<void>): void {
  it.runIf(process.arch === 'x64')(`${name}`, async () => {
    tried ??= compileC('narrow-call', GETPID).then((program) => run(program));
    const { code, signal } = await tried;
    if (code === 0) return test();
    process.stdout.write(`not tested, since this machine runs no 32-bit calls: ${name}\n`);
    expect(signal).toBe('SIGSEGV');
  });
}
