import {
  getNamedType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isObjectType,
  type GraphQLNamedType,
  type GraphQLType,
} from 'graphql';
import { expect, it } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';

interface Field {
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly type: GraphQLType;
  readonly args?: readonly Omit<Field, 'args'>[];
}

const types = Object.values(contractSchema().getTypeMap()).filter(({ name }) => !name.startsWith('__'));
const fieldsOf = (type: GraphQLNamedType): readonly Field[] =>
  isObjectType(type) || isInterfaceType(type) || isInputObjectType(type) ? Object.values(type.getFields()) : [];
/** The fields beside those that have values of an enum. */
const besideValuesOf = (type: GraphQLNamedType): string[] =>
  types
    .map(fieldsOf)
    .filter((fields) => fields.some((field) => getNamedType(field.type) === type))
    .flatMap((fields) => fields.map(({ name }) => name));

/** Descriptions, and the names that one may use without saying of what they are. */
const described = types.flatMap((type) => {
  const fields = fieldsOf(type);
  const names = fields.map(({ name }) => name);
  const values = isEnumType(type) ? type.getValues() : [];
  const near = [...values.map(({ name }) => name), ...(values.length ? besideValuesOf(type) : [])];
  return [
    { at: type.name, description: type.description, near: [...names, ...near] },
    ...values.map(({ name, description }) => ({ at: `${type.name}.${name}`, description, near })),
    ...fields.flatMap((field) => {
      const at = `${type.name}.${field.name}`;
      const { args = [] } = field;
      const all = [...names, ...args.map(({ name }) => name)];
      return [
        { at, description: field.description, near: all },
        ...args.map(({ name, description }) => ({ at: `${at}(${name}:)`, description, near: all })),
      ];
    }),
  ];
});

it('what a description refers to is there', () => {
  const known = new Set([
    ...types.map(({ name }) => name),
    ...types.flatMap((type) => fieldsOf(type).map(({ name }) => `${type.name}.${name}`)),
    ...types
      .filter(({ name }) => /^(Query|Mutation)$/.test(name))
      .flatMap((type) => fieldsOf(type).map(({ name }) => name)),
  ]);
  const wrong = described.flatMap(({ at, description, near }) =>
    [...(description ?? '').matchAll(/\b[Ss]ee(?: also)? `([\w.]+)(?:\([^`]*\))?`/g)].flatMap(([, name = '']) =>
      known.has(name) || near.includes(name) ? [] : [`${at}: ${name}`],
    ),
  );
  expect(described.length).toBeGreaterThan(1000);
  expect(wrong).toEqual([]);
});
