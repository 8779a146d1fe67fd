export { AlertMetrics } from './alert.js';
export { BuiltinMetrics, MAX_CONTAINERS } from './builtin.js';
export { Metrics, type Exposition } from './exposition.js';
export { sessionLabel } from './label.js';
export { DeclaredMetrics, type PluginSeries } from './plugin.js';
export { ServerMetrics } from './server.js';
export type { LoadedStore } from './store.js';
export { WorkMetrics } from './work.js';
