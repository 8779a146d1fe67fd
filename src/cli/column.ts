import { columnOf, type Column, type TrackerInfo } from './field.js';

/**
 * What a table shows of a tracker's own fields where nobody said --fields. A tracker that is missing here shows
 * all of them but flags and namespaces, so a new tracker needs no line.
 */
const preferred: Readonly<Record<string, readonly string[]>> = {
  exec: ['process.ppid', 'errno', 'args'],
  exit: ['exitCode', 'signal', 'lifetimeNs'],
  open: ['errno', 'fd', 'flags', 'path'],
  syscount: ['name', 'count', 'errors', 'durationNs'],
  tcp: ['operation', 'errno', 'localAddress', 'localPort', 'remoteAddress', 'remotePort', 'durationNs'],
};

const first = ['time', 'container.name', 'process.pid', 'process.comm'];
const shared = /^(tracker|time|bootNs|cgroupId|process\..*|container\..*)$/;

export function tableColumns(trackers: readonly TrackerInfo[]): readonly Column[] {
  const known = new Set(trackers.flatMap(({ fields }) => fields.map(({ path }) => path)));
  const start = trackers.length > 1 ? ['time', 'tracker', ...first.slice(1)] : first;
  const paths = [...start, ...trackers.flatMap((tracker) => preferred[tracker.name] ?? ownFields(tracker))];
  return [...new Set(paths)].filter((path) => known.has(path)).map(columnOf);
}

function ownFields({ fields }: TrackerInfo): readonly string[] {
  return fields
    .filter(
      ({ path, type }) =>
        !shared.test(path) && !type.startsWith('Boolean') && !/^(pid|net|mount|user|ipc|uts|cgroup)Ns$/.test(path),
    )
    .map(({ path }) => path);
}
