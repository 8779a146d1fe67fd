/**
 * The version of schema.graphql, MAJOR.MINOR (docs/api.md): a release that adds to the schema raises the minor number; one
 * that breaks clients raises the major number, or, while that is 0, the minor one. The set-up raises it where the schema needs that
 * (scripts/contract.mjs); who wants a higher one writes it here.
 */
export const API_VERSION = '0.1';
