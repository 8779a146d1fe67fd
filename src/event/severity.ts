import type { Severity } from '../plugin.js';

export type { Severity } from '../plugin.js';

/** How serious an alert is, in ascending order. */
export const severities: readonly Severity[] = ['INFO', 'LOW', 'MEDIUM', 'HIGH', 'CRITICAL'];
