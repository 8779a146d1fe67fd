export { BuiltinMetrics, MAX_CONTAINERS } from './builtin.js';
export { Metrics, type Exposition } from './exposition.js';
export { ServerMetrics } from './server.js';
