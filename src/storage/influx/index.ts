export { ConnectingClient } from './connect.js';
export type { InfluxClient, InfluxOptions } from './client.js';
export type { LiveGroups, MakeGroups, RollupInput } from './rollup.js';
export { Sender, type SenderStats } from './sender.js';
export { Spool } from './spool.js';
export { InfluxStore, type InfluxStoreOptions } from './store.js';
export { openInfluxStore } from './open.js';
