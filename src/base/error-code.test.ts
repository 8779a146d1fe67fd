import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { errorSchema, errorsPage } from '../../scripts/docs/errors.mjs';
import { errorCodes, errorTable, isErrorCode, statusOf, wholeResponseStatus, type ErrorCode } from './error-code.js';
import { EunomiaError } from './errors.js';
import { root } from './paths.js';

const source = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => /(?<!\.test)\.ts$/.test(name) && !name.includes('generated') && !name.endsWith('error-code.ts'))
  .map((name) => readFileSync(join(root, 'src', name), 'utf8'))
  .join('\n');

describe('the table of errors', () => {
  it('has each code that the source gives to a client', () => {
    const used = [...source.matchAll(/(?:EunomiaError\(|\bcode: |[cC]ode \?\? )\s*'([A-Z]+(?:_[A-Z]+)*)'/g)].map(
      ([, code]) => code,
    );
    expect(used.length).toBeGreaterThan(100);
    expect([...new Set(used)].filter((code) => !isErrorCode(code))).toEqual([]);
  });

  it('has no code that the source never uses', () => {
    expect(errorCodes.filter((code) => !source.includes(`'${code}'`))).toEqual([]);
  });

  it('is what docs/errors.md and the schema show (npm run docs writes it)', () => {
    expect(readFileSync(join(root, 'docs/errors.md'), 'utf8')).toBe(errorsPage(errorTable));
    expect(readFileSync(join(root, 'schema/error.graphql'), 'utf8')).toBe(errorSchema(errorTable));
  });

  it('refuses an unknown code when it is compiled', () => {
    expectTypeOf<ConstructorParameters<typeof EunomiaError>[0]>().toEqualTypeOf<ErrorCode>();
    expectTypeOf<'NO_SUCH_CODE'>().not.toExtend<ErrorCode>();
    expect(isErrorCode('NO_SUCH_CODE')).toBe(false);
    expect(isErrorCode('toString')).toBe(false);
  });

  it('gives a refused request its status, by the limit where one code has several', () => {
    expect(statusOf(new EunomiaError('UNKNOWN_SESSION', ''))).toBe(404);
    expect(statusOf(new EunomiaError('LIMIT_EXCEEDED', '', { details: { limit: 'depth' } }))).toBe(400);
    expect(statusOf(new EunomiaError('LIMIT_EXCEEDED', '', { details: { limit: 'bodyBytes' } }))).toBe(413);
    expect(statusOf(new EunomiaError('LIMIT_EXCEEDED', '', { details: { limit: 'connections' } }))).toBe(503);
    expect(statusOf(new EunomiaError('BAD_SCHEMA', ''))).toBe(500);
  });

  it('lets an error of one field change the whole status only where a client lacks a right', () => {
    expect(wholeResponseStatus('FORBIDDEN')).toBe(403);
    expect(wholeResponseStatus('UNKNOWN_SESSION')).toBeNull();
    expect(wholeResponseStatus(undefined)).toBeNull();
  });
});
