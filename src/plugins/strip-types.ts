/** Loaded when the first plugin is: a module of ours, for a bundle gives no named exports of a CommonJS package that is imported late. */
export { transform } from 'sucrase';
