/**
 * What stands in the sandbox before the plugin's source: evaluated first, so that it holds its own JSON whatever the plugin does to the
 * globals. Answers of `call` are "" or an error as JSON; what the plugin says goes through `host`, which answers why it refuses.
 */
export const guest = String.raw`(function (host) {
  'use strict';
  const { parse, stringify } = JSON;
  const HOOKS = { batch: 'onBatch', interval: 'onInterval', start: 'onStart', stop: 'onStop' };
  let events = [];
  let plugin;
  const say = (kind, first, second, third) => {
    const refusal = host(kind, stringify(first), second === undefined ? undefined : stringify(second), third === undefined ? undefined : stringify(third));
    if (refusal !== undefined) throw new TypeError(refusal);
  };
  const context = {
    options: {},
    session: { id: '', name: null },
    gap: null,
    emit: (kind, value) => say('emit', kind, value),
    alert: ({ severity, title, message, key, event }) => {
      const index = event ? events.indexOf(event) : -1;
      say('alert', { severity, title, message, key }, index, index < 0 ? event : undefined);
    },
    count: (metric, labels, by) => say('counter', metric, by === undefined ? 1 : by, labels),
    gauge: (metric, value, labels) => say('gauge', metric, value, labels),
    observe: (metric, value, labels) => say('histogram', metric, value, labels),
    log: (text) => say('log', String(text)),
  };
  const told = (error) => stringify({ message: error instanceof Error ? error.name + ': ' + error.message : String(error), stack: error instanceof Error ? String(error.stack) : '' });
  return {
    load(evaluate) {
      try {
        const exports = {};
        evaluate(exports, (name) => {
          if (name === 'eunomia/plugin') return { definePlugin: (definition) => definition };
          throw new Error('cannot import "' + name + '": a plugin imports "eunomia/plugin" and nothing else');
        });
        plugin = exports.default;
        return stringify({ definition: typeof plugin === 'object' && plugin !== null ? plugin : null }, (key, value) => (typeof value === 'function' ? 'function' : value));
      } catch (error) {
        return told(error);
      }
    },
    call(kind, text) {
      try {
        const data = parse(text);
        if (kind === 'start') {
          context.options = data.options;
          context.session = data.session;
        }
        if (kind === 'batch') {
          events = data;
        }
        const hook = plugin[HOOKS[kind]];
        const answer = hook === undefined ? undefined : kind === 'batch' ? hook.call(plugin, events, context) : hook.call(plugin, context);
        if (answer && typeof answer.then === 'function') throw new TypeError(HOOKS[kind] + ' must not be async: there is nothing to wait for');
        return '';
      } catch (error) {
        return told(error);
      } finally {
        events = [];
        context.gap = null;
      }
    },
    gap(lost, dropped) {
      context.gap = { lost, dropped };
    },
  };
})`;
