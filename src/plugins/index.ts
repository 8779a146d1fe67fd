/** Users' analyses: each in a thread of its own, trusted or in a sandbox. */
export { Attachment, type AttachmentState, type Restart } from './attachment.js';
export type { SeenError } from './findings.js';
export { PluginHost, type HostOptions, type Plugin, type PluginRequest } from './host.js';
export type { PluginMetrics, PluginMetricSample } from './metrics.js';
export type { OutgoingAlert } from './protocol.js';
export { replayPlugin, type OnOutcome, type ReplayRequest, type ReplaySummary } from './replay.js';
export type { PluginResult } from './results.js';
