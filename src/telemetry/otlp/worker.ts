import { parentPort, workerData } from 'node:worker_threads';
import { ProtobufLogsSerializer, ProtobufMetricsSerializer } from '@opentelemetry/otlp-transformer';
import type { ReadableLogRecord } from '@opentelemetry/sdk-logs';
import { serveChannel } from '../../base/channel.js';
import { BatchReader } from '../../record/wire.js';
import { metricsOf, pointsOf } from './metric.js';
import { poster } from './post.js';
import type { ExportedSession, ExportProtocol, OtlpThreadSpec } from './protocol.js';
import { RecordMaker } from './record.js';
import { OtlpResources } from './resource.js';
import { OtlpSender } from './sender.js';

/** The thread that exports: makes records, encodes them and talks to the collector, so that the thread that serves clients does not. */

/** Records in one request at most: well below the 4 MiB that receivers take by default. */
const RECORDS = 2000;
/** How long records wait for others to come. */
const LINGER_MS = 500;
const LOG_BYTES = 8 << 20;
const TELL_EVERY_MS = 500;

const spec = workerData as OtlpThreadSpec;
const port = parentPort;
if (!port) throw new Error('the export runs in a thread of its own');

const resources = new OtlpResources(spec.resource);
const maker = new RecordMaker(resources, spec.version, spec.fields);
const logs = new OtlpSender({
  post: poster(`${spec.url}/v1/logs`, spec.headers, spec.ca),
  rejected: (response) => {
    const { partialSuccess } = ProtobufLogsSerializer.deserializeResponse(response);
    return { count: Number(partialSuccess?.rejectedLogRecords ?? 0), problem: partialSuccess?.errorMessage ?? '' };
  },
  maxBytes: LOG_BYTES,
  newestOnly: false,
});
const metrics = new OtlpSender({
  post: poster(`${spec.url}/v1/metrics`, spec.headers, spec.ca),
  rejected: (response) => {
    const { partialSuccess } = ProtobufMetricsSerializer.deserializeResponse(response);
    return { count: Number(partialSuccess?.rejectedDataPoints ?? 0), problem: partialSuccess?.errorMessage ?? '' };
  },
  maxBytes: LOG_BYTES,
  newestOnly: true,
});
const readers = new Map<string, Promise<BatchReader>>();
let pending: ReadableLogRecord[] = [];
let linger: NodeJS.Timeout | null = null;

const tell = (): void => note('counts', { logs: logs.counts, metrics: metrics.counts });

function readerOf({ trackers }: ExportedSession): Promise<BatchReader> {
  const key = trackers.join();
  const reader = readers.get(key) ?? BatchReader.create(trackers);
  readers.set(key, reader);
  return reader;
}

function flush(): void {
  if (linger) clearTimeout(linger);
  linger = null;
  if (!pending.length) return;
  const body = ProtobufLogsSerializer.serializeRequest(pending);
  if (body) logs.push({ body, count: pending.length });
  pending = [];
}

async function add(record: ReadableLogRecord): Promise<void> {
  pending.push(record);
  linger ??= setTimeout(flush, LINGER_MS);
  if (pending.length < RECORDS) return;
  flush();
  await logs.room();
}

const note = serveChannel<ExportProtocol>(
  port,
  {
    asks: {
      events: async ({ session, message, from, to }) => {
        const batch = (await readerOf(session)).read(message);
        for (let i = from; i < to; i++) await add(maker.event(batch.event(i), batch.placeOf(i), session));
      },
      gap: ({ gap, session }) => add(maker.gap(gap, session)),
      alert: (alert) => add(maker.alert(alert)),
      flush: async () => {
        flush();
        await Promise.all([logs.empty(), metrics.empty()]);
        tell();
      },
    },
    posts: {
      /** Never waits for events: what is known of the server is told when its events cannot be. */
      metrics: ({ families, atMs }) => {
        const body = ProtobufMetricsSerializer.serializeRequest(
          metricsOf(families, resources.server, spec.version, spec.startedAtMs, atMs),
        );
        if (body) metrics.push({ body, count: pointsOf(families) });
      },
    },
  },
  { code: 'INTERNAL_SERVER_ERROR', inOrder: true },
);
setInterval(tell, TELL_EVERY_MS).unref();
