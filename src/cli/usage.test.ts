import { Command, Option } from 'commander';
import { expect, it } from 'vitest';
import { EunomiaError } from '../base/errors.js';
import { anyCase, forEachId, inFlag } from './usage.js';

it.each([
  ['input.target.containers: no container has the name "wep"', '--container: no container has the name "wep"'],
  ['input.target.containers: no container has the image "nginx"', '--image: no container has the image "nginx"'],
  ['input.target.containers: no container has the label "a=b"', '--label: no container has the label "a=b"'],
  [
    'Variable "$input" got invalid value "1" at "input.for"; Duration cannot be "1"; write it',
    '--for: Duration cannot be "1"; write it',
  ],
  [
    'Variable "$input" got invalid value "A; at" at "input.trackers[0].tcp.operations[0]"; Value "A" does not exist',
    'tcp.operations[0]: Value "A" does not exist',
  ],
  ['where.until: is not later than where.since; nothing', '--until: is not later than --since; nothing'],
  ['input.reason: is empty', '--reason: is empty'],
  ['input.ttl: Duration cannot be "x"; write it', '--ttl: Duration cannot be "x"; write it'],
  ['from: a is not before b; give a time before it', '--from: a is not before b; give a time before it'],
  ['trackers[0]: there is no tracker "a"', '--tracker: there is no tracker "a"'],
  [
    'input.plugins[0]: there is no plugin "a"; there are none (serve --plugins, loadPlugin)',
    '--plugin: there is no plugin "a"; there are none (`eunomia plugin load` loads one)',
  ],
  [
    'the store has no session "a"; `sessions` lists those there are',
    'the store has no session "a"; `eunomia sessions` lists those there are',
  ],
  [
    'there is no session "a": it never was, or it was removed; the query `sessions` lists those there are',
    'there is no session "a": it never was, or it was removed; `eunomia sessions` lists those there are',
  ],
  ['the server is full', 'the server is full'],
])('%s: is told to who typed a command in his words', (message, told) => {
  expect(inFlag(new EunomiaError('BAD_USER_INPUT', message))).toHaveProperty('message', told);
});

it.each([
  ['groupBy[0]: no event has the field "a"', ['--group-by'], '--group-by: no event has the field "a"'],
  ['groupBy[0]: no event has the field "a"', ['--count-by'], '--count-by: no event has the field "a"'],
  ['measures[0].field: no event has the field "a"', ['--measures'], '--measures: no event has the field "a"'],
  [
    'input.target.containers: no container has the name "a" (running: b); with waitForContainers: true the session waits for one',
    [],
    'no container has the name "a" (running: b)',
  ],
])('%s: is told in the words of a command with %j', (message, has, told) => {
  const error = new EunomiaError('BAD_USER_INPUT', message);
  expect(inFlag(error, (flag) => has.includes(flag))).toHaveProperty('message', told);
});

it.each([
  [
    'this server needs a token: send "Authorization: Bearer TOKEN" (over WebSocket in connectionParams)',
    '--token: this server needs a token: give it, or EUNOMIA_TOKEN',
  ],
  [
    'the token is not known to this server, or the header is not "Authorization: Bearer TOKEN"',
    '--token: the token is not known to this server',
  ],
])('%s: is told as something about --token', (message, told) => {
  expect(inFlag(new EunomiaError('UNAUTHENTICATED', message))).toHaveProperty('message', told);
});

it('takes a word in upper and lower case', () => {
  const severityOf = (given: string): unknown =>
    new Command()
      .exitOverride()
      .configureOutput({ writeErr: () => undefined })
      .addOption(anyCase(new Option('--severity <severity>', 'which'), ['LOW', 'HIGH']))
      .parse(['--severity', given], { from: 'user' })
      .opts()['severity'];
  expect(['low', 'HIGH', 'High'].map(severityOf)).toEqual(['low', 'high', 'high']);
  expect(() => severityOf('huge')).toThrow("argument 'huge' is invalid. Allowed choices are low, high.");
});

it('goes on behind an id that is not there, and tells of all of them; not where the server is away', async () => {
  const done: string[] = [];
  const work = (code: 'UNKNOWN_ALERT' | 'UNREACHABLE') => (id: string) => {
    if (id.startsWith('no')) return Promise.reject(new EunomiaError(code, `there is no ${id}`));
    done.push(id);
    return Promise.resolve();
  };
  const ids = ['none', 'a', 'no-other', 'b'];
  await expect(forEachId(ids, work('UNKNOWN_ALERT'))).rejects.toMatchObject({
    code: 'UNKNOWN_ALERT',
    message: 'there is no none\neunomia: there is no no-other',
  });
  expect(done.splice(0)).toEqual(['a', 'b']);
  await expect(forEachId(ids, work('UNREACHABLE'))).rejects.toThrow('there is no none');
  expect(done).toEqual([]);
  await forEachId(['a'], work('UNKNOWN_ALERT'));
});
