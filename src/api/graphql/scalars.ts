import { GraphQLError, Kind, print, valueFromASTUntyped, type ValueNode } from 'graphql';
import { parseDateTime } from '../../base/date-time.js';
import { formatDuration, parseDuration } from '../../base/duration.js';
import type { ErrorCode } from '../../base/error-code.js';

// Output costs a call for each field of each event: `serialize` returns strings as they are, and checks nothing that
// the decoder already guarantees.

const MAX_UINT32 = 2 ** 32 - 1;
const MAX_UINT64 = 2n ** 64n - 1n;
const MAX_CURSOR = 256;
const MAX_EVENT_FIELD = 300;

function bad(type: string, value: unknown, right: string): GraphQLError {
  const shown =
    typeof value === 'string' ? JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value) : String(value);
  return new GraphQLError(`${type} cannot be ${shown}; ${right}`, {
    extensions: { code: 'BAD_USER_INPUT' satisfies ErrorCode },
  });
}

function duration(value: unknown): number {
  const ms = typeof value === 'string' ? parseDuration(value) : null;
  if (ms !== null) return ms;
  const hint = typeof value === 'number' && Number.isInteger(value) && value >= 0 ? `; did you mean "${value}s"?` : '';
  throw bad(
    'Duration',
    value,
    `write a whole number and one of the units ns, us, ms, s, m, h, for example "500ms", "10s" or "5m"${hint}`,
  );
}

function dateTime(value: unknown): string {
  const time = typeof value === 'string' ? parseDateTime(value) : null;
  if (time !== null) return time;
  throw bad('DateTime', value, 'write RFC 3339, for example "2026-01-31T08:15:30.123456789Z"');
}

function uint64(value: unknown): string {
  const digits = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? String(value) : value;
  if (typeof digits === 'string' && /^\d{1,20}$/.test(digits) && BigInt(digits) <= MAX_UINT64)
    return BigInt(digits).toString();
  throw bad(
    'UInt64',
    value,
    'write a decimal number from 0 to 18446744073709551615 as a string, for example "4026531841"',
  );
}

function int64(value: unknown): string {
  const digits = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof digits === 'string' && /^-?\d{1,19}$/.test(digits) && BigInt.asIntN(64, BigInt(digits)) === BigInt(digits))
    return BigInt(digits).toString();
  throw bad(
    'Int64',
    value,
    'write a decimal number from -9223372036854775808 to 9223372036854775807 as a string, for example "-2"',
  );
}

function uint32(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_UINT32) return value;
  throw bad('UInt32', value, 'write a whole number from 0 to 4294967295');
}

function cursor(value: unknown): string {
  if (typeof value === 'string' && value !== '' && value.length <= MAX_CURSOR) return value;
  throw bad(
    'Cursor',
    value,
    'give one that this server returned, for example `EventBatch.cursor` or `PageInfo.endCursor`',
  );
}

function eventField(value: unknown): string {
  if (typeof value === 'string' && value !== '' && value.length <= MAX_EVENT_FIELD) return value;
  throw bad('EventField', value, 'write the path of a field, for example "process.comm"; `Tracker.fields` lists them');
}

function errno(value: unknown): string {
  if (typeof value === 'string' && /^(E[A-Z0-9]+|\d+)$/.test(value)) return value;
  throw bad('Errno', value, 'write the symbol of an error, for example "ENOENT"');
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : String(value);
}

/**
 * Decimal texts come from records, and are digits by their making. A number must be whole: a fraction or a NaN is a
 * fault of ours, and never told as a count.
 */
function wholeText(name: string, value: unknown, least: number): string {
  if (typeof value !== 'number') return asText(value);
  if (!Number.isInteger(value) || value < least || value > 2 ** 64 - 1) throw new TypeError(`${value} is no ${name}`);
  return Number.isSafeInteger(value) ? String(value) : BigInt(value).toString();
}

/** A literal is read as the variable of the same JSON would be. In the form that keeps the schema's description of the scalar. */
function scalar(
  name: string,
  parse: (value: unknown) => unknown,
  serialize: (value: unknown) => unknown = asText,
): Record<string, unknown> {
  const parseLiteral = (node: ValueNode): unknown => {
    if (node.kind === Kind.STRING) return parse(node.value);
    // The digits of a literal are exact also where a number would not be.
    if (node.kind === Kind.INT)
      return parse(Number.isSafeInteger(Number(node.value)) ? Number(node.value) : node.value);
    throw bad(name, print(node), 'write a string');
  };
  return { __serialize: serialize, __parseValue: parse, __parseLiteral: parseLiteral };
}

export const scalars = {
  Duration: scalar('Duration', duration, (value) => (typeof value === 'number' ? formatDuration(value) : value)),
  DateTime: scalar('DateTime', dateTime),
  UInt32: scalar('UInt32', uint32, uint32),
  UInt64: scalar('UInt64', uint64, (value) => wholeText('UInt64', value, 0)),
  Int64: scalar('Int64', int64, (value) => wholeText('Int64', value, Number.NEGATIVE_INFINITY)),
  Cursor: scalar('Cursor', cursor),
  EventField: scalar('EventField', eventField),
  Errno: scalar('Errno', errno),
  JSON: {
    __serialize: (value: unknown) => value,
    __parseValue: (value: unknown) => value,
    __parseLiteral: valueFromASTUntyped,
  } as Record<string, unknown>,
};
