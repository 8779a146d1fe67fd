export interface Layer {
  readonly folder: string;
  readonly what: string;
  readonly why: string;
}
export const layers: readonly Layer[];
export function allowedFor(folder: string): readonly string[];
export function refusal(file: string, source: string): string | null;
export function checkLayers(): readonly string[];
export function withTable(text: string): string;
export function whereabouts(file: string, text: string): string | null;
