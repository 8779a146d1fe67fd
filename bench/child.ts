import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A program that answers each line on its standard input with one line. */
export class LineProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  readonly #lines: string[] = [];
  readonly #ended: Promise<void>;
  #stderr = '';
  #failure: Error | null = null;

  constructor(program: string, args: readonly string[]) {
    this.#name = program.split('/').at(-1) ?? program;
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr?.on('data', (data: Buffer) => (this.#stderr += String(data)));
    this.#child.stdin?.on('error', () => {}); // it has ended, and `close` tells of it
    if (this.#child.stdout) createInterface(this.#child.stdout).on('line', (line) => this.#take(line));
    this.#ended = new Promise((resolve) => {
      const end = (why: string) => {
        this.#failure = new Error(`${this.#name} ended (${why})${this.#stderr ? `: ${lastLines(this.#stderr)}` : ''}`);
        for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
        resolve();
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('close', (code, signal) => end(signal ?? `exit code ${code}`));
    });
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw this.#failure ?? new Error(`${this.#name} did not start`);
    return pid;
  }

  /** The next line of its output. Rejects when it ends before. */
  line(): Promise<string> {
    const line = this.#lines.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Sends a line; answers the numbers in the line that comes back. */
  async ask(command: string): Promise<readonly number[]> {
    return (await this.askText(command)).split(' ').map(Number);
  }

  /** Sends a line; answers the line that comes back. */
  askText(command: string): Promise<string> {
    this.#child.stdin?.write(`${command}\n`);
    return this.line();
  }

  /** Ends its input, and waits until it has ended. */
  async close(): Promise<void> {
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await this.#ended;
    clearTimeout(timer);
  }

  #take(line: string): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve(line);
    else this.#lines.push(line);
  }
}

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-5).join('\n');
}
