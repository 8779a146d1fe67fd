/** A list as a sentence has it: "a", "a and b", "a, b and c". */
export function listed(names: readonly string[]): string {
  const last = names.at(-1) ?? '';
  return names.length < 2 ? last : `${names.slice(0, -1).join(', ')} and ${last}`;
}

/** A number of things as a sentence has it: "1 event", "2 events". */
export function counted(number: number | bigint | string, noun: string): string {
  return `${number} ${noun}${String(number) === '1' ? '' : 's'}`;
}
