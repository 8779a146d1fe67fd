/**
 * The version of schema.graphql, MAJOR.MINOR (docs/api.md): a release that adds to the schema raises the minor number; one
 * that breaks clients raises the major number, or, while that is 0, the minor one. `npm run contract` checks it.
 */
export const API_VERSION = '0.1';
