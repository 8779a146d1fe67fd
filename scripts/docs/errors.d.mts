import type { ErrorEntry } from '../../src/base/error-code.js';

export function errorsPage(table: Readonly<Record<string, ErrorEntry>>): string;
export function errorSchema(table: Readonly<Record<string, ErrorEntry>>): string;
