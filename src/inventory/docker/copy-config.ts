import type { Rights } from '../../event/advice.js';
import type { Original } from './original.js';

/** The mount of a copy: content of the original, or the helper's. */
export interface CopyMount {
  readonly Type: 'bind' | 'volume';
  readonly Source: string;
  readonly Target: string;
  readonly ReadOnly: boolean;
  readonly BindOptions?: { readonly NonRecursive: boolean; readonly Propagation: string };
}

export interface CopyPlace {
  readonly labels: Readonly<Record<string, string>>;
  readonly network: string;
  readonly mounts: readonly CopyMount[];
  /** What the engine does with what it writes. */
  readonly logs: object;
  /** The seccomp profile of the rights, as the engine takes it; null where there are none. */
  readonly seccomp: string | null;
}

/**
 * The body of `POST /containers/create` for a copy: the original's image, program, environment and limits, with other rights (null: with
 * the original's own). It has no label of the original, which others act on; no published port; none of the host's namespaces; and it is
 * never privileged.
 */
export function copyConfig(original: Original, rights: Rights | null, place: CopyPlace): object {
  const { Config, HostConfig: host } = original;
  return {
    Image: original.Image,
    Cmd: Config.Cmd,
    Entrypoint: Config.Entrypoint,
    Env: Config.Env,
    WorkingDir: Config.WorkingDir,
    User: rights?.user ?? Config.User,
    Hostname: hostnameOf(original),
    Tty: Config.Tty,
    StopSignal: Config.StopSignal,
    Healthcheck: Config.Healthcheck,
    Labels: place.labels,
    HostConfig: {
      Mounts: place.mounts,
      NetworkMode: place.network,
      RestartPolicy: { Name: 'no' },
      LogConfig: place.logs,
      ShmSize: host.ShmSize,
      Init: host.Init,
      Runtime: host.Runtime,
      GroupAdd: host.GroupAdd,
      ExtraHosts: host.ExtraHosts,
      Ulimits: host.Ulimits,
      Sysctls: host.Sysctls,
      ...(rights === null ? ownRights(original) : givenRights(original, rights, place)),
    },
    NetworkingConfig: { EndpointsConfig: { [place.network]: { Aliases: aliasesOf(original) } } },
  };
}

/** An id as host name is the engine's default: the copy has its own. */
function hostnameOf({ Id, Config }: Original): string | null {
  return Config.Hostname !== null && Id.startsWith(Config.Hostname) ? null : Config.Hostname;
}

function aliasesOf({ Id, Name, NetworkSettings }: Original): string[] {
  const own = Object.values(NetworkSettings?.Networks ?? {}).flatMap(({ Aliases }) => Aliases ?? []);
  return [...new Set([Name.replace(/^\//, ''), ...own])].filter((name) => name !== '' && !Id.startsWith(name));
}

function ownRights({ HostConfig: host }: Original): object {
  return {
    CapAdd: host.CapAdd,
    CapDrop: host.CapDrop,
    SecurityOpt: host.SecurityOpt,
    ReadonlyRootfs: host.ReadonlyRootfs,
    Tmpfs: host.Tmpfs,
    Devices: host.Devices,
    Memory: host.Memory,
    NanoCpus: host.NanoCpus,
    PidsLimit: host.PidsLimit,
  };
}

const SECCOMP_OR_PRIVILEGES = /^(seccomp|no-new-privileges)\b/;

function givenRights({ HostConfig: host }: Original, rights: Rights, { seccomp }: CopyPlace): object {
  const { limits } = rights;
  return {
    CapDrop: ['ALL'],
    CapAdd: rights.capabilities,
    SecurityOpt: [
      ...(host.SecurityOpt ?? []).filter((option) => !SECCOMP_OR_PRIVILEGES.test(option)),
      ...(seccomp === null ? [] : [`seccomp=${seccomp}`]),
      ...(rights.noNewPrivileges ? ['no-new-privileges'] : []),
    ],
    ReadonlyRootfs: rights.readOnlyRoot,
    Tmpfs: Object.fromEntries(rights.tmpfs.map(({ path, sizeBytes }) => [path, `size=${sizeBytes}`])),
    // Only devices that the original has: a copy gets at nothing that the original does not.
    Devices: (host.Devices ?? []).flatMap((device) => {
      const right = rights.devices.find(({ path }) => path === device.PathInContainer);
      return right ? [{ ...device, CgroupPermissions: right.access }] : [];
    }),
    Memory: limits.memoryBytes ?? host.Memory,
    NanoCpus: limits.cpus === null ? host.NanoCpus : Math.round(limits.cpus * 1e9),
    PidsLimit: limits.pids ?? host.PidsLimit,
  };
}
