export function contractProblems(contract: {
  readonly released: string;
  readonly current: string;
  readonly version: string;
  readonly changelog: string;
}): readonly string[];
export function raisedVersion(contract: {
  readonly released: string;
  readonly current: string;
  readonly version: string;
}): string;
export function checkContract(): readonly string[];
export function releasedText(schema: string, version: string): string;
export function changesOf(
  released: string,
  current: string,
): { readonly breaking: readonly string[]; readonly added: readonly string[] };
