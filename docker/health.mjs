/**
 * The health check of the image. Exit code 0 if the server of this container is healthy, with TLS or without. It asks where
 * EUNOMIA_HOST and EUNOMIA_PORT say that the server listens: the flags and the configuration file of another process are not known here.
 */
import http from 'node:http';
import https from 'node:https';

// One that is empty is not set, as in src/options/sources.ts.
const [set, port] = ['EUNOMIA_HOST', 'EUNOMIA_PORT'].map((name) => (process.env[name] ?? '').trim());
const host = ['', '0.0.0.0', '::'].includes(set) ? '127.0.0.1' : set;

function isHealthy(client) {
  return new Promise((resolve) => {
    // Whoever has the port of this container is the server, whatever its certificate says.
    const options = { host, port: port || '4000', path: '/healthz', agent: false, rejectUnauthorized: false };
    client.get(options, ({ statusCode }) => resolve(statusCode === 200)).on('error', () => resolve(false));
  });
}

process.exit((await isHealthy(http)) || (await isHealthy(https)) ? 0 : 1);
