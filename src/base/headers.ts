import { validateHeaderName, validateHeaderValue } from 'node:http';

/** A line of a file that means something, and where it is, for messages. */
export interface FileLine {
  readonly line: string;
  readonly where: string;
}

/** Headers that a request has anyway. */
const OWN = /^(content-|transfer-|host$|connection$)/;
export const NOT_A_HEADER = "a header's name or its value has characters that HTTP does not allow there";

/** The lines of a text, without comments and empty ones. */
export function linesOf(text: string, file: string): readonly FileLine[] {
  return text
    .split('\n')
    .map((line, i) => ({ line: line.trim(), where: `${file}, line ${i + 1}` }))
    .filter(({ line }) => line !== '' && !line.startsWith('#'));
}

/**
 * Headers, one "Name: value" a line, by their names in lower case. Throws what `fail` makes of a message, which never has a value
 * in it.
 */
export function headersOf(lines: readonly FileLine[], fail: (message: string) => Error): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const { line, where } of lines) {
    const [, name, value] = /^([^:\s]+)\s*:\s*(.+)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw fail(`${where}: a header is written as "Name: value"`);
    const key = name.toLowerCase();
    if (OWN.test(key)) throw fail(`${where}: ${name} is set by the export itself`);
    if (key in headers) throw fail(`${where}: ${name} is there a second time`);
    if (!isHeader(key, value)) throw fail(`${where}: ${NOT_A_HEADER}`);
    headers[key] = value;
  }
  return headers;
}

/** Node's own messages hold the value, which may be a secret. */
export function isHeader(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}
