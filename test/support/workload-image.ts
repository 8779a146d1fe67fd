import { execFile } from 'node:child_process';
import { cp, copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { cert, key } from './certificate.js';
import { TEST_IMAGE, type TestDocker } from './docker.js';
import { scratch } from './workload.js';

const exec = promisify(execFile);

/** Programs of this machine's packages, with their libraries, as images; a busybox is in each. */
export interface Workload {
  readonly image: string;
  readonly command: readonly string[];
  /** Of this machine, with the libraries that they need. */
  readonly programs: readonly string[];
  readonly folders?: readonly string[];
  readonly files?: Readonly<Record<string, string>>;
}

const PASSWD = 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n';
const GROUP = 'root:x:0:\nwww-data:x:33:\n';

const NGINX = `
user www-data;
worker_processes 1;
daemon off;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events { worker_connections 100; }
http {
  access_log /var/log/nginx/access.log;
  server { listen 443 ssl; ssl_certificate /etc/nginx/cert.pem; ssl_certificate_key /etc/nginx/key.pem; root /srv; }
}
`;

const SHELL = `
mkdir -p /tmp/work
while :; do
  for i in 1 2 3; do date > /tmp/work/$i; sort /tmp/work/$i | wc -c > /tmp/work/size; done
  touch /tmp/work/ready
  sleep 0.2
done
`;

const NODE = `
const { createServer } = require('node:http');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
createServer((request, response) => {
  fs.writeFileSync('/tmp/last', request.url);
  response.end(createHash('sha256').update(fs.readFileSync('/tmp/last')).digest('hex'));
}).listen(8080);
`;

const PYTHON = `
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({'path': self.path}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
ThreadingHTTPServer(('', 8080), Handler).serve_forever()
`;

export const workloads = {
  nginx: {
    image: 'eunomia-test/nginx:1',
    command: ['/usr/sbin/nginx', '-c', '/etc/nginx/nginx.conf'],
    programs: ['/usr/sbin/nginx'],
    files: {
      'etc/nginx/nginx.conf': NGINX,
      'etc/nginx/cert.pem': cert,
      'etc/nginx/key.pem': key,
      'srv/index.html': 'hello\n',
      'var/log/nginx/.keep': '',
      'var/lib/nginx/.keep': '',
      'run/.keep': '',
    },
  },
  shell: { image: 'eunomia-test/shell:1', command: ['sh', '/work.sh'], programs: [], files: { 'work.sh': SHELL } },
  node: {
    image: 'eunomia-test/node:1',
    command: ['/bin/node', '/server.js'],
    programs: [process.execPath],
    files: { 'server.js': NODE },
  },
  python: {
    image: 'eunomia-test/python:1',
    command: ['/usr/bin/python3.11', '/server.py'],
    programs: ['/usr/bin/python3.11'],
    folders: ['/usr/lib/python3.11'],
    files: { 'server.py': PYTHON },
  },
  redis: {
    image: 'eunomia-test/redis:1',
    command: ['/usr/bin/redis-server', '--dir', '/var/lib/redis', '--bind', '0.0.0.0', '--protected-mode', 'no'],
    programs: ['/usr/bin/redis-server', '/usr/bin/redis-cli'],
    files: { 'var/lib/redis/.keep': '' },
  },
} as const satisfies Readonly<Record<string, Workload>>;

/** Makes the image of a workload; `docker run IMAGE` starts it. */
export async function makeWorkload(
  docker: TestDocker,
  { image, command, programs, folders, files }: Workload,
): Promise<void> {
  const folder = join(scratch, 'image', image.replaceAll(/\W/g, '-'));
  const put = async (from: string, to = from): Promise<void> => {
    await mkdir(dirname(join(folder, to)), { recursive: true });
    await copyFile(from, join(folder, to));
  };
  for (const program of programs) {
    await put(program, program === process.execPath ? '/bin/node' : program);
    const { stdout } = await exec('ldd', [program]);
    for (const [library] of stdout.matchAll(/\/\S+(?= \()/g)) await put(library);
  }
  for (const whole of folders ?? [])
    await cp(whole, join(folder, whole), { recursive: true, preserveTimestamps: true });
  for (const [name, content] of Object.entries({ 'etc/passwd': PASSWD, 'etc/group': GROUP, ...files })) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  const base = `${image.replaceAll(/\W/g, '-')}-base`;
  await docker.docker('create', '--name', base, TEST_IMAGE);
  await docker.docker('cp', `${folder}/.`, `${base}:/`);
  await docker.docker('commit', '--change', `CMD ${JSON.stringify(command)}`, base, image);
  await docker.docker('rm', base);
  await rm(folder, { recursive: true });
}
