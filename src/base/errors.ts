import type { ErrorCode } from './error-code.js';

/**
 * Errors that are ours: a client may see their message. `code`, one of the table in error-code.ts, reaches
 * GraphQL as `extensions.code` and never changes its meaning; anything that is not an EunomiaError is masked.
 */
export class EunomiaError extends Error {
  readonly code: ErrorCode;
  /** What the message is about, for programs: the argument's path, suggestions, limits. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'EunomiaError';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** Bad input: `path` is that of the argument ("input.target.pids[0]"), the message says what would be right. */
export function invalid(path: string, message: string, details: Record<string, unknown> = {}): EunomiaError {
  return new EunomiaError('BAD_USER_INPUT', `${path}: ${message}`, { details: { argument: path, ...details } });
}

/** A kernel operation failed. Its errno and, for a rejected program, the end of the verifier's log are part of the message. */
export class KernelError extends EunomiaError {
  readonly operation: string;
  readonly errno: string | null;
  readonly hint: string;
  readonly verifierLog: string | null;

  constructor(operation: string, errno: string | null, hint: string, verifierLog: string | null = null) {
    const because = [errno, hint && `(${hint})`].filter(Boolean).join(' ');
    const log = verifierLog ? `\nThe verifier's last lines:\n${verifierLog}` : '';
    super('KERNEL_ERROR', `${operation}: ${because || 'failed'}${log}`, {
      details: { operation, errno, ...(verifierLog ? { verifierLog } : {}) },
    });
    this.name = 'KernelError';
    this.operation = operation;
    this.errno = errno;
    this.hint = hint;
    this.verifierLog = verifierLog;
  }
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** "did you mean …?" for a name that is not among `known`; empty when nothing is near. "comm" is near to "process.comm". */
export function suggest(name: string, known: Iterable<string>): string {
  const lower = name.toLowerCase();
  const near = [...new Set(known)]
    .map((candidate) => ({ candidate, distance: distance(lower, candidate.toLowerCase()) }))
    .filter(({ candidate, distance: far }) => far <= farthest(candidate))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ candidate }) => `"${candidate}"`);
  return near.length ? `; did you mean ${near.join(' or ')}?` : '';
}

/** One slip in a short name: with two, "nope" would be near to "open". */
function farthest({ length }: string): number {
  return Math.floor(length / 3);
}

function distance(name: string, candidate: string): number {
  if (name !== '' && candidate.endsWith(`.${name}`)) return 0;
  // The distance is that of the lengths at least. A client's text may have a mebibyte.
  const least = Math.abs(name.length - candidate.length);
  return least > farthest(candidate) ? least : editDistance(name, candidate);
}

/** How many letters are to be inserted, left out, replaced, or exchanged with the next one. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isExchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const exchanged = isExchanged ? (before[j - 2] ?? 0) + 1 : Infinity;
      next.push(Math.min(replaced, exchanged, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    before = row;
    row = next;
  }
  return row[b.length] ?? 0;
}
