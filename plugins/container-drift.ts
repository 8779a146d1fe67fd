/**
 * Container drift: a program that runs in a container and was not in its image. Needs the trackers exec and open.
 *
 * Method: a plugin cannot look into an image, but it sees what is written. A file that is opened for writing, or made, in a container
 * and executed there later is new or changed since the image: MEDIUM, HIGH when a program that fetches wrote it (`fetchers`). An
 * executable that is no file of the file system (memfd, deleted, /dev/shm) is HIGH: no image holds such.
 * Not seen: files that were written before the plugin was attached, or that came by rename or by a volume.
 */
import { definePlugin } from 'eunomia/plugin';

const written = new Map<string, string>();
const MAX = 50_000;

export default definePlugin({
  name: 'container-drift',
  version: '1.0.0',
  summary: 'Finds programs that run in a container and were not in its image.',
  options: {
    ignore: {
      type: 'strings',
      default: [],
      description: 'Beginnings of paths that may change: build folders, for example "/workspace/".',
    },
    fetchers: {
      type: 'strings',
      default: ['wget', 'curl', 'nc', 'ftpget', 'tftp', 'scp'],
      description: 'Programs (comm) that fetch: what they wrote is worse.',
    },
  },
  metrics: { drifts: { type: 'counter', help: 'Programs that were not in the image, by kind.', labels: ['kind'] } },
  reads: {
    exec: ['time', 'process', 'container', 'executable', 'errno'],
    open: ['process', 'container', 'resolved', 'path', 'flags', 'errno'],
  },
  onBatch(events, context) {
    for (const event of events) {
      const { container } = event;
      if (!container || event.errno !== null) continue;
      if (event.tracker === 'open') {
        if (!event.flags.some((flag) => ['O_WRONLY', 'O_RDWR', 'O_CREAT', 'O_TRUNC'].includes(flag))) continue;
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
      const hidden = / \(deleted\)$|^\/?memfd:|^\/dev\/(shm|fd)\//.test(file);
      if (writer === undefined && !hidden) continue;
      const kind = hidden ? 'no-file' : 'written';
      const why = hidden ? 'it is no file of any image' : `${writer} wrote it while the container was watched`;
      const message = `${container.name ?? container.id.slice(0, 12)} (${container.image ?? 'image unknown'}) runs ${file}: ${why}`;
      context.count('drifts', { kind });
      context.emit('drift', { container: container.name, file, writer: writer ?? null, pid: event.process.pid, kind });
      const severity = hidden || context.options.fetchers.includes(writer ?? '') ? 'HIGH' : 'MEDIUM';
      context.alert({
        severity,
        title: 'A program that is not of the image',
        message,
        event,
        key: `${container.id} ${file}`,
      });
    }
  },
});
