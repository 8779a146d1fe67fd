/** docs/built-in-rules.md. */
export function rulesPage(): string;
