export { parseExported, type ExportedConfig } from './config.js';
export { ExportedMetrics } from './exported.js';
