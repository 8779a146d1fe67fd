/** The `EventFilter` of a flag: a CEL expression, or `@` and the name of a filter that is saved on the server. */
export function whereInput(text: string): { readonly saved: string } | { readonly expr: string } {
  return text.startsWith('@') ? { saved: text.slice(1) } : { expr: text };
}
