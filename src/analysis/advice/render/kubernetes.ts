import { stringify } from 'yaml';
import type { Advice, Rights } from '../../../event/advice.js';
import { plainName, shortCapability } from './name.js';

const DNS_PORT = 53;

/**
 * A patch of a Deployment (`kubectl patch deployment NAME --patch-file`), and a NetworkPolicy. A policy selects by address: a name that
 * DNS gave is in an annotation, and its addresses are those that were seen.
 */
export function kubernetes(advice: Advice): string {
  const name = plainName(advice);
  return `${stringify(patch(advice.rights, name))}---\n${stringify(policy(advice.rights, name))}`;
}

function patch(rights: Rights, name: string): object {
  const { uid, gid } = /^(?<uid>\d+)(:(?<gid>\d+))?$/.exec(rights.user ?? '')?.groups ?? {};
  const { memoryBytes, cpus } = rights.limits;
  const scratch = rights.tmpfs.map(({ path, sizeBytes }, i) => ({ name: `tmpfs-${i + 1}`, path, sizeBytes }));
  const kept = rights.volumes.map(({ path, writable }, i) => ({ name: `volume-${i + 1}`, path, writable }));
  const limits = {
    ...(memoryBytes === null ? {} : { memory: String(memoryBytes) }),
    ...(cpus === null ? {} : { cpu: String(cpus) }),
  };
  const container = {
    name,
    securityContext: {
      allowPrivilegeEscalation: !rights.noNewPrivileges,
      readOnlyRootFilesystem: rights.readOnlyRoot,
      capabilities: {
        drop: ['ALL'],
        ...(rights.capabilities.length ? { add: rights.capabilities.map(shortCapability) } : {}),
      },
      seccompProfile: { type: 'Localhost', localhostProfile: `${name}/seccomp.json` },
      // Kubernetes knows users by number only.
      ...(uid === undefined ? {} : { runAsUser: Number(uid), runAsNonRoot: Number(uid) !== 0 }),
      ...(gid === undefined ? {} : { runAsGroup: Number(gid) }),
    },
    ...(Object.keys(limits).length ? { resources: { limits } } : {}),
    ...(rights.ports.length
      ? { ports: rights.ports.map(({ protocol, port }) => ({ containerPort: port, protocol })) }
      : {}),
    ...(scratch.length + kept.length
      ? {
          volumeMounts: [
            ...scratch.map((one) => ({ name: one.name, mountPath: one.path })),
            ...kept.map((one) => ({
              name: one.name,
              mountPath: one.path,
              ...(one.writable ? {} : { readOnly: true }),
            })),
          ],
        }
      : {}),
  };
  const volumes = [
    ...scratch.map((one) => ({ name: one.name, emptyDir: { medium: 'Memory', sizeLimit: String(one.sizeBytes) } })),
    ...kept.map((one) => ({ name: one.name, emptyDir: {} })),
  ];
  return { spec: { template: { spec: { containers: [container], ...(volumes.length ? { volumes } : {}) } } } };
}

function policy(rights: Rights, name: string): object {
  const names = rights.peers.flatMap((peer) => (peer.name === null ? [] : [`${peer.name}:${peer.port}`]));
  const dns = {
    ports: [
      { protocol: 'UDP', port: DNS_PORT },
      { protocol: 'TCP', port: DNS_PORT },
    ],
  };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, ...(names.length ? { annotations: { 'eunomia/peers': names.join(' ') } } : {}) },
    spec: {
      podSelector: { matchLabels: { app: name } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: rights.ports.length ? [{ ports: rights.ports.map(({ protocol, port }) => ({ protocol, port })) }] : [],
      egress: [
        ...(names.length ? [dns] : []),
        ...rights.peers.map(({ protocol, addresses, port }) => ({
          to: addresses.map((address) => ({ ipBlock: { cidr: `${address}/${address.includes(':') ? 128 : 32}` } })),
          ports: [{ protocol, port }],
        })),
      ],
    },
  };
}
