export function refusals(file: string, text: string): readonly string[];
export function checkSections(): readonly string[];
