/** "args_truncated" → "argsTruncated": the one rule between C's names and the schema's. */
export function camelCase(snake: string): string {
  return snake.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** "argsTruncated" → "args_truncated". */
export function snakeCase(camel: string): string {
  return camel.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** "exec" → "ExecEvent". */
export function eventTypeName(tracker: string): string {
  const camel = camelCase(tracker);
  return `${camel.charAt(0).toUpperCase()}${camel.slice(1)}Event`;
}
