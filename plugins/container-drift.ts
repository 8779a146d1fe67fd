/**
 * Container drift: programs that run in a container but were not in its image. Requires the trackers exec and open.
 *
 * Method: a plugin cannot look into an image, but it sees what is written. A file that is created or opened for writing in a container,
 * and executed there later, is new or has changed: MEDIUM, or HIGH if a download program wrote it (`fetchers`). An executable that is
 * not a file below the container's root (in memory, deleted, on a detached mount, in /dev/shm) is HIGH, because no image contains one.
 * What a runtime executes on its way into a container has the container's cgroup already, and is told apart by its PID namespace.
 * Not seen: files that were written before the plugin was attached, or that arrive through a rename or a volume.
 */
import { definePlugin } from 'eunomia/plugin';

const written = new Map<string, string>();
const MAX = 50_000;

/**
 * The kernel's first PID namespace (PROC_PID_INIT_INO). What is executed in it from no file below a root is the
 * runtime, or the program of a container that shares it (`--pid host`), which is not seen then.
 */
const HOST_PID_NS = '4026531836';

/** Why no image can hold this executable; null when one can. */
function hiding(file: string, state: string | null, deleted: boolean | null): string | null {
  if (state === 'ANONYMOUS') return 'it is in memory, not in a file';
  if (deleted) return 'it was deleted before it was executed';
  if (state !== null && state !== 'ROOTED') return "it is not below the container's root";
  return file.startsWith('/dev/shm/') ? 'it is in shared memory' : null;
}

export default definePlugin({
  name: 'container-drift',
  version: '1.0.0',
  summary: 'Finds programs that run in a container but were not in its image.',
  options: {
    ignore: {
      type: 'strings',
      default: [],
      description: 'Prefixes of paths to ignore, such as build folders: "/workspace/".',
    },
    fetchers: {
      type: 'strings',
      default: ['wget', 'curl', 'nc', 'ftpget', 'tftp', 'scp'],
      description: 'Download programs (comm). Files written by them raise the severity to HIGH.',
    },
  },
  metrics: { drifts: { type: 'counter', help: 'Programs that were not in the image, by kind.', labels: ['kind'] } },
  reads: {
    exec: ['time', 'process', 'container', 'executable', 'executableState', 'executableDeleted', 'pidNs', 'errno'],
    open: ['process', 'container', 'resolved', 'path', 'flags', 'errno'],
  },
  onBatch(events, context) {
    for (const event of events) {
      const { container } = event;
      if (!container || event.errno !== null) continue;
      if (event.tracker === 'open') {
        if (!event.flags?.some((flag) => ['O_WRONLY', 'O_RDWR', 'O_CREAT', 'O_TRUNC'].includes(flag))) continue;
        const path = event.resolved ?? event.path;
        if (!path || /^\/(dev|proc|sys)\//.test(path)) continue;
        const key = `${container.id} ${path}`;
        written.delete(key);
        written.set(key, event.process.comm);
        for (const oldest of written.keys()) {
          if (written.size <= MAX) break;
          written.delete(oldest);
        }
        continue;
      }
      const file = event.executable;
      if (file === null || context.options.ignore.some((beginning) => file.startsWith(beginning))) continue;
      const writer = written.get(`${container.id} ${file}`);
      const entering = event.pidNs === HOST_PID_NS && event.executableState !== 'ROOTED';
      const hidden = entering ? null : hiding(file, event.executableState, event.executableDeleted);
      if (writer === undefined && hidden === null) continue;
      const kind = hidden ? 'no-file' : 'written';
      const why = hidden ?? `${writer} wrote it while the container was watched`;
      const message = `${container.name ?? container.id.slice(0, 12)} (${container.image ?? 'image unknown'}) runs ${file}: ${why}`;
      context.count('drifts', { kind });
      const found = { container: container.name, file, writer: writer ?? null, pid: event.process.pid, kind };
      context.emit('drift', found, { event });
      const severity = hidden || context.options.fetchers.includes(writer ?? '') ? 'HIGH' : 'MEDIUM';
      context.alert({
        severity,
        title: 'A program that is not part of the image',
        message,
        event,
        key: `${container.id} ${file}`,
      });
    }
  },
});
