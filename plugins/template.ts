/**
 * A template: counts the programs that each container executes, and reports those that cannot be executed. Copy it
 * (`eunomia plugin new NAME`) and adapt it. Requires the tracker exec.
 *
 * Top-level variables live as long as the plugin is attached to a session; each attachment has its own.
 */
import { definePlugin } from 'eunomia/plugin';

const counts = new Map<string, number>();

export default definePlugin({
  name: 'template',
  version: '1.0.0',
  summary: 'Counts the programs that each container executes.',
  options: {
    top: {
      type: 'integer',
      default: 10,
      min: 1,
      max: 1000,
      description: 'How many programs to report per interval.',
    },
    alertOnFailure: {
      type: 'boolean',
      default: false,
      description: 'Whether to raise an alert when a program cannot be executed.',
    },
  },
  metrics: { executed: { type: 'counter', help: 'Programs that were executed, by result.', labels: ['result'] } },
  // Only these fields are captured for it, and only these may be read.
  reads: { exec: ['time', 'process', 'container.id', 'container.name', 'filename', 'errno'] },
  // Evaluated by the server, so that other events cost the plugin nothing: where: 'container.name.startsWith("web-")',
  every: 1000,

  onBatch(events, context) {
    for (const event of events) {
      context.count('executed', { result: event.errno === null ? 'ok' : 'failed' });
      if (event.errno !== null) {
        if (!context.options.alertOnFailure) continue;
        const message = `${event.process.comm} could not execute ${event.filename ?? 'a program'}: ${event.errno}`;
        context.alert({
          severity: 'INFO',
          title: 'A program could not be executed',
          message,
          event,
          key: `${event.filename} ${event.errno}`,
        });
        continue;
      }
      const key = `${event.container?.name ?? 'the host'}: ${event.process.comm}`;
      if (counts.size < 10_000 || counts.has(key)) counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  },

  onInterval(context) {
    if (counts.size === 0) return;
    const top = [...counts].sort(([, a], [, b]) => b - a).slice(0, context.options.top);
    context.emit('top', Object.fromEntries(top));
    counts.clear();
  },

  onStop(context) {
    if (counts.size > 0) context.emit('top', Object.fromEntries(counts));
  },
});
