/**
 * What stands in the sandbox before the plugin's source: evaluated first, so that it holds its own JSON whatever the plugin does to the
 * globals. `call` returns "" or an error as JSON; what the plugin says goes through `host`, which returns why it refuses.
 */
export const guest = String.raw`(function (host) {
  'use strict';
  const { parse, stringify } = JSON;
  const { create, defineProperty, setPrototypeOf } = Object;
  const ProxyOfMine = Proxy;
  const HOOKS = { batch: 'onBatch', interval: 'onInterval', start: 'onStart', stop: 'onStop' };
  let events = [];
  // The same without what a test of the plugin puts around them.
  let rows = [];
  let plugin;
  let strict = false;
  // Tracker -> { row, groups }: prototypes whose getters refuse what the plugin did not declare.
  let refusing = {};
  let declaredOf = {};
  const undeclared = (tracker, path) =>
    'the plugin reads "' + path + '" of the tracker ' + tracker + ' and does not declare it: add it to reads.' + tracker;
  const refuse = (target, name, tracker, path) =>
    defineProperty(target, name, {
      get() {
        throw new TypeError(undeclared(tracker, path));
      },
      configurable: true,
    });
  // Looked up when it is read: an event does not carry it.
  const identify = (target) =>
    defineProperty(target, 'id', {
      get() {
        const index = rows.indexOf(this);
        if (index < 0) throw new TypeError('an event has its id only during the call to which it is passed: copy it then');
        return host('id', stringify(index)) || null;
      },
      configurable: true,
    });
  const prepare = (paths) => {
    for (const tracker in paths) {
      const row = create(Object.prototype);
      identify(row);
      const groups = {};
      const may = { '': ['tracker', 'id'] };
      for (const path of paths[tracker].declared) {
        const [first, second] = path.split('.');
        may[''].push(first);
        if (second !== undefined) {
          groups[first] = groups[first] || create(Object.prototype);
          (may[first] = may[first] || []).push(second);
        }
      }
      const not = [];
      for (const path of paths[tracker].undeclared) {
        const [first, second] = path.split('.');
        if (second === undefined || !groups[first]) refuse(row, first, tracker, first);
        else if (may[first].indexOf(second) < 0) refuse(groups[first], second, tracker, path);
        not.push(first, path);
      }
      refusing[tracker] = { row, groups };
      declaredOf[tracker] = { may, not };
    }
  };
  const watched = (value, tracker, group) =>
    new ProxyOfMine(value, {
      get(target, key) {
        if (typeof key === 'symbol' || key === 'toJSON') return target[key];
        const path = group === '' ? key : group + '.' + key;
        const { may, not } = declaredOf[tracker];
        if (may[group].indexOf(key) < 0)
          throw new TypeError(
            not.indexOf(path) < 0
              ? 'events of the tracker ' + tracker + ' have no field "' + path + '"'
              : undeclared(tracker, path),
          );
        const inner = target[key];
        if (inner === undefined)
          throw new TypeError('the recorded ' + tracker + ' event has no "' + path + '", which the plugin reads: record it too');
        return group === '' && may[key] && inner !== null ? watched(inner, tracker, key) : inner;
      },
    });
  const shown = (row) => {
    const known = refusing[row.tracker];
    if (!known) return row;
    setPrototypeOf(row, known.row);
    for (const group in known.groups) if (row[group]) setPrototypeOf(row[group], known.groups[group]);
    return strict ? watched(row, row.tracker, '') : row;
  };
  const say = (kind, first, second, third) => {
    const refusal = host(
      kind,
      stringify(first),
      second === undefined ? undefined : stringify(second),
      third === undefined ? undefined : stringify(third),
    );
    if (refusal !== undefined) throw new TypeError(refusal);
  };
  const indexed = (event) => {
    const index = event ? events.indexOf(event) : -1;
    return index < 0 ? { event } : { index };
  };
  const context = {
    options: {},
    session: { id: '', name: null },
    gap: null,
    emit: (kind, value, about) =>
      say('emit', kind, value, about && typeof about === 'object' && 'event' in about ? indexed(about.event) : about),
    alert: ({ severity, title, message, key, event }) => say('alert', { severity, title, message, key }, indexed(event)),
    count: (metric, labels, by) => say('counter', metric, by === undefined ? 1 : by, labels),
    gauge: (metric, value, labels) => say('gauge', metric, value, labels),
    observe: (metric, value, labels) => say('histogram', metric, value, labels),
    log: (text) => say('log', String(text)),
  };
  const told = (error) =>
    stringify({
      message: error instanceof Error ? error.name + ': ' + error.message : String(error),
      stack: error instanceof Error ? String(error.stack) : '',
    });
  return {
    load(evaluate) {
      try {
        const exports = {};
        evaluate(exports, (name) => {
          if (name === 'eunomia/plugin') return { definePlugin: (definition) => definition };
          throw new Error('cannot import "' + name + '": a plugin imports "eunomia/plugin" and nothing else');
        });
        plugin = exports.default;
        return stringify({ definition: typeof plugin === 'object' && plugin !== null ? plugin : null }, (key, value) =>
          typeof value === 'function' ? 'function' : value,
        );
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
          strict = data.strict;
          prepare(data.paths);
        }
        if (kind === 'batch') {
          rows = data;
          events = data.map(shown);
        }
        const hook = plugin[HOOKS[kind]];
        let returned;
        if (hook !== undefined)
          returned = kind === 'batch' ? hook.call(plugin, events, context) : hook.call(plugin, context);
        if (returned && typeof returned.then === 'function')
          throw new TypeError(HOOKS[kind] + ' must not be async: there is nothing to wait for');
        return '';
      } catch (error) {
        return told(error);
      } finally {
        events = [];
        rows = [];
        context.gap = null;
      }
    },
    gap(lost, dropped) {
      context.gap = { lost, dropped };
    },
  };
})`;
