import {
  getNamedType,
  getNullableType,
  isEnumType,
  isListType,
  isNonNullType,
  type GraphQLInputType,
  type GraphQLOutputType,
} from 'graphql';
import { HISTOGRAM_BUCKET } from '../event/scalar.js';
import { EunomiaError } from '../base/errors.js';

/** The schema's enum of that name. */
export type ValueKind = 'BOOLEAN' | 'INTEGER' | 'NUMBER' | 'TEXT' | 'TIME' | 'DURATION' | 'ENUM' | 'HISTOGRAM';

/** The schema's type of that name. */
export interface ValueType {
  readonly name: string;
  readonly kind: ValueKind;
  readonly list: boolean;
  readonly nullable: boolean;
  readonly values: readonly { readonly name: string; readonly description: string | null }[] | null;
}

const kinds: Readonly<Record<string, ValueKind>> = {
  Boolean: 'BOOLEAN',
  Int: 'INTEGER',
  UInt32: 'INTEGER',
  UInt64: 'INTEGER',
  Int64: 'INTEGER',
  Float: 'NUMBER',
  String: 'TEXT',
  ID: 'TEXT',
  Errno: 'TEXT',
  DateTime: 'TIME',
  Duration: 'DURATION',
  [HISTOGRAM_BUCKET]: 'HISTOGRAM',
};

/** Throws BAD_SCHEMA for a type of the schema that has no place in the vocabulary. */
export function valueTypeOf(type: GraphQLInputType | GraphQLOutputType): ValueType {
  const named = getNamedType(type);
  const kind = isEnumType(named) ? 'ENUM' : kinds[named.name];
  if (!kind) throw new EunomiaError('BAD_SCHEMA', `a value of type ${named.name} has no ValueKind`);
  return {
    name: String(type),
    kind,
    list: isListType(getNullableType(type)) && kind !== 'HISTOGRAM',
    nullable: !isNonNullType(type),
    values: isEnumType(named)
      ? named.getValues().map(({ name, description }) => ({ name, description: description ?? null }))
      : null,
  };
}
