import { afterAll, beforeAll, expect, it } from 'vitest';
import { closeAll } from '../support/closing.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, statsOf, stopSession } from '../support/server.js';

let docker: TestDocker;
const NETWORK = 'eunomia-dns';

beforeAll(async () => {
  docker = await startDocker();
  await docker.docker('network', 'create', '--subnet', '10.214.53.0/24', NETWORK);
});
afterAll(() =>
  closeAll(
    () => docker.removeNetwork(NETWORK),
    () => docker.stop(),
  ),
);

interface Asked {
  readonly dnsOperation: string;
  readonly name: string | null;
  readonly queryType: string | null;
  readonly rcode: string | null;
  readonly addresses: readonly string[] | null;
  readonly serverAddress: string;
  readonly serverPort: number;
  readonly latencyNs: string | null;
  readonly process: { readonly comm: string };
  readonly container: { readonly name: string | null } | null;
}

it('reports what a container asks the resolver of its engine, which is behind address translation', async () => {
  const server = await startServer(['--engine', docker.socket]);
  await docker.run('-d', '--name', 'web', '--network', NETWORK, '--ip', '10.214.53.80', TEST_IMAGE, 'sleep', '600');
  const session = await startSession(
    server,
    '{ trackers: [{ dns: {} }], target: { containers: [{ name: "asker" }], waitForContainers: true } }',
  );
  const told = await docker.run('--name', 'asker', '--network', NETWORK, TEST_IMAGE, 'nslookup', '-type=a', 'web');
  expect(told).toContain('10.214.53.80');
  await stopSession(server, session);
  const { lost, produced, received } = await statsOf(server, session);
  expect([lost, produced]).toEqual([0, received]);
  const page = await server.query<{ session: { events: { nodes: readonly Asked[] } } }>(
    `query ($id: ID!) { session(id: $id) { events(last: 1000) { nodes { process { comm } container { name }
      ... on DnsEvent { dnsOperation name queryType rcode addresses serverAddress serverPort latencyNs } } } } }`,
    { id: session },
  );
  const common = {
    name: 'web',
    queryType: 'A',
    // Not the port that the query leaves with.
    serverAddress: '127.0.0.11',
    serverPort: 53,
    process: { comm: 'nslookup' },
    container: { name: 'asker' },
  };
  expect(page.session.events.nodes).toEqual([
    { ...common, dnsOperation: 'QUERY', rcode: null, addresses: null, latencyNs: null },
    {
      ...common,
      dnsOperation: 'RESPONSE',
      rcode: 'NOERROR',
      addresses: ['10.214.53.80'],
      latencyNs: expect.stringMatching(/^\d+$/) as string,
    },
  ]);
  const report = await server.query<{ session: { report: { dnsNames: object } } }>(
    'query ($id: ID!) { session(id: $id) { report(container: "asker") { dnsNames { entries { name types count ' +
      'responses failed failures comms } } } } }',
    { id: session },
  );
  expect(report.session.report.dnsNames).toEqual({
    entries: [
      { name: 'web', types: ['A'], count: '1', responses: '1', failed: '0', failures: [], comms: ['nslookup'] },
    ],
  });
});
