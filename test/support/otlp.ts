import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { gunzipSync } from 'node:zlib';
// An older release of the exporter's package, which still held the decoder that protobufjs makes of OpenTelemetry's own
// .proto files: what we send is checked against the schema, not by the code that encoded it.
import root from 'otlp-schema/build/src/generated/root.js';

interface Value {
  readonly stringValue?: string;
  readonly intValue?: string;
  readonly doubleValue?: number;
  readonly boolValue?: boolean;
  readonly arrayValue?: { readonly values: readonly Value[] };
}

type Attributes = Readonly<Record<string, unknown>>;

export interface ReceivedLog {
  readonly time: string;
  readonly severity: number;
  readonly severityText: string;
  readonly body: string;
  readonly attributes: Attributes;
  readonly resource: Attributes;
}

export interface ReceivedPoint {
  readonly name: string;
  readonly unit: string;
  readonly kind: 'sum' | 'gauge' | 'histogram';
  readonly attributes: Attributes;
  readonly value: number;
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

/** A receiver of OTLP over HTTP. Debian has none: this one decodes by the official schema, and counts nothing that does not decode. */
export interface TestCollector {
  readonly url: string;
  readonly logs: ReceivedLog[];
  /** The last that came. */
  readonly points: readonly ReceivedPoint[];
  readonly headers: readonly IncomingMessage['headers'][];
  /** Responses to the next requests, in turn; then 200. 0 breaks the connection, `breaks` does so in the body. */
  readonly answers: {
    readonly status: number;
    readonly body?: Uint8Array;
    readonly retryAfter?: string;
    readonly breaks?: boolean;
  }[];
  /** Breaks each connection while set. */
  away: boolean;
  close(): Promise<void>;
}

interface Decoder {
  decode(bytes: Uint8Array): unknown;
  toObject(message: unknown, options: { longs: StringConstructor; defaults: boolean; arrays: boolean }): unknown;
  encode(message: object): { finish(): Uint8Array };
}

/** "logs.v1.ExportLogsServiceRequest". */
export function collectorType(path: string): Decoder {
  return path
    .split('.')
    .reduce<unknown>(
      (at, name) => Reflect.get(at as object, name),
      Reflect.get(Reflect.get(Reflect.get(root, 'opentelemetry') as object, 'proto') as object, 'collector'),
    ) as Decoder;
}

export function decodeOtlp(path: string, bytes: Uint8Array): unknown {
  const type = collectorType(path);
  return type.toObject(type.decode(bytes), { longs: String, defaults: false, arrays: true });
}

export function logsOf(bytes: Uint8Array): ReceivedLog[] {
  const { resourceLogs } = decodeOtlp('logs.v1.ExportLogsServiceRequest', bytes) as {
    resourceLogs: {
      resource: { attributes: Pair[] };
      scopeLogs: {
        logRecords: {
          timeUnixNano: string;
          severityNumber: number;
          severityText: string;
          body: Value;
          attributes: Pair[];
        }[];
      }[];
    }[];
  };
  return resourceLogs.flatMap(({ resource, scopeLogs }) =>
    scopeLogs.flatMap(({ logRecords }) =>
      logRecords.map(({ timeUnixNano, severityNumber, severityText, body, attributes }) => ({
        time: timeUnixNano,
        severity: severityNumber,
        severityText,
        body: String(plain(body)),
        attributes: record(attributes),
        resource: record(resource.attributes),
      })),
    ),
  );
}

interface Point {
  readonly attributes: Pair[];
  readonly asDouble?: number;
  readonly count?: string;
  readonly bucketCounts?: string[];
  readonly explicitBounds?: number[];
}

export function pointsOf(bytes: Uint8Array): ReceivedPoint[] {
  const { resourceMetrics } = decodeOtlp('metrics.v1.ExportMetricsServiceRequest', bytes) as {
    resourceMetrics: {
      scopeMetrics: {
        metrics: {
          name: string;
          unit?: string;
          sum?: { dataPoints: Point[] };
          gauge?: { dataPoints: Point[] };
          histogram?: { dataPoints: Point[] };
        }[];
      }[];
    }[];
  };
  return resourceMetrics.flatMap(({ scopeMetrics }) =>
    scopeMetrics.flatMap(({ metrics }) =>
      metrics.flatMap(({ name, unit = '', ...data }) =>
        (['sum', 'gauge', 'histogram'] as const).flatMap((kind) =>
          (data[kind]?.dataPoints ?? []).map(
            ({ attributes, asDouble, count, explicitBounds = [], bucketCounts = [] }) => ({
              name,
              unit,
              kind,
              attributes: record(attributes),
              value: asDouble ?? Number(count ?? 0),
              bounds: explicitBounds,
              counts: bucketCounts.map(Number),
            }),
          ),
        ),
      ),
    ),
  );
}

interface Pair {
  readonly key: string;
  readonly value: Value;
}

function record(pairs: readonly Pair[]): Attributes {
  return Object.fromEntries(pairs.map(({ key, value }) => [key, plain(value)]));
}

function plain(value: Value): unknown {
  if (value.arrayValue) return value.arrayValue.values.map(plain);
  return value.intValue === undefined
    ? (value.stringValue ?? value.doubleValue ?? value.boolValue)
    : Number(value.intValue);
}

export async function startCollector(
  create: (handler: Parameters<typeof createServer>[1]) => Server = (handler) =>
    createServer(handler ?? (() => undefined)),
): Promise<TestCollector> {
  let points: readonly ReceivedPoint[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const state = { away: false };
  const logs: ReceivedLog[] = [];
  const answers: TestCollector['answers'] = [];
  const server = create((request, response) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
      const answer = answers.shift() ?? { status: 200 };
      if (state.away || answer.status === 0) return request.socket.destroy();
      headers.push(request.headers);
      if (answer.status === 200) {
        const bytes = gunzipSync(Buffer.concat(parts));
        if (request.url === '/v1/logs') logs.push(...logsOf(bytes));
        else if (request.url === '/v1/metrics') points = pointsOf(bytes);
        else answers.unshift({ status: 404 });
      }
      response.writeHead(answer.status, {
        'content-type': 'application/x-protobuf',
        ...(answer.retryAfter ? { 'retry-after': answer.retryAfter } : {}),
      });
      if (answer.breaks) return response.write('part', () => request.socket.destroy());
      return response.end(answer.body ?? '');
    })().catch((error: unknown) => response.writeHead(400).end(String(error)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    logs,
    get points() {
      return points;
    },
    headers,
    answers,
    get away() {
      return state.away;
    },
    set away(away) {
      state.away = away;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
