import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { at, engineOf, known, rulesOf } from '../../test/support/rules.js';
import { holdsFor } from '../../test/support/property.js';

const web = { id: 'aa11', name: 'web', image: 'nginx:1', labels: {} };
const db = { id: 'bb22', name: 'db', image: 'postgres:1', labels: {} };

const shell = `
  - name: shell-in-container
    description: A shell was started in a container.
    severity: MEDIUM
    trackers: exec
    condition: in_container && process.comm in shells
    message: '{process.comm} [in {container.name}]'
    key: [container.id, process.pid]`;
const vocabulary = `
lists:
  shells: [sh, bash]
macros:
  in_container: container != null
rules:`;

describe('a rule', () => {
  it('raises an alert with what was so at that moment', () => {
    const { engine, alerts } = engineOf(rulesOf(vocabulary + shell));
    const sshd = known(7, 'sshd');
    engine.evaluate(at(0, 'exec', { container: web, args: ['sh', '-c', 'id'], known: known(100, 'sh', sshd) }));
    engine.evaluate(at(1, 'exec', { container: null }));
    engine.evaluate(at(2, 'exec', { container: web, process: { comm: 'nginx' } }));
    expect(alerts).toEqual([
      {
        rule: 'shell-in-container',
        severity: 'MEDIUM',
        title: 'A shell was started in a container.',
        message: 'sh in web',
        tags: [],
        attack: [],
        time: '2026-01-31T08:15:30.000Z',
        eventId: null,
        tracker: 'exec',
        process: expect.objectContaining({ pid: 100, comm: 'sh', uid: 1000 }) as object,
        container: { id: 'aa11', name: 'web', image: 'nginx:1' },
        startNs: expect.any(Number) as number,
        actions: [],
        key: '["aa11",100]',
        intervalMs: 300_000,
        evidence: {
          event: {
            tracker: 'exec',
            time: expect.any(String) as string,
            bootNs: '30000000000',
            cgroupId: '4242',
            args: ['sh', '-c', 'id'],
          },
          container: web,
          events: expect.any(Function) as () => [],
          ancestors: [
            {
              pid: 7,
              comm: 'sshd',
              uid: 0,
              executable: '/usr/bin/sshd',
              args: ['sshd'],
              startTime: '2026-01-31T08:15:00.000007000Z',
            },
          ],
        },
      },
    ]);
    expect(engine.countsOf('shell-in-container')).toMatchObject({ matched: 1, alerts: 1, suppressed: 0 });
  });

  it('is switched off, overridden and appended to by another file', () => {
    const set = rulesOf(
      vocabulary + shell,
      `
overrides:
  lists: { shells: { append: [fish] } }
  macros: { in_container: { and: 'container.name != "db"' } }
  rules:
    shell-in-container:
      severity: HIGH
      exceptions: [{ name: operator, condition: process.uid == 42 }]`,
    );
    const { engine, alerts } = engineOf(set);
    const fish = { comm: 'fish' };
    engine.evaluate(at(0, 'exec', { container: web, process: fish }));
    engine.evaluate(at(1, 'exec', { container: db, process: fish }));
    engine.evaluate(at(2, 'exec', { container: web, process: { ...fish, pid: 5, uid: 42 } }));
    expect(alerts.map(({ severity, message }) => [severity, message])).toEqual([['HIGH', 'fish in web']]);

    const off = engineOf(
      rulesOf(vocabulary + shell, 'overrides: { rules: { shell-in-container: { enabled: false } } }'),
    );
    off.engine.evaluate(at(0, 'exec', { container: web }));
    expect(off.alerts).toEqual([]);
    expect(off.engine.countsOf('shell-in-container')).toBeNull();
  });

  it('combines alerts of one key for its interval, and is throttled beyond its bound', () => {
    const { engine, alerts, repeats } = engineOf(
      rulesOf(`${vocabulary}${shell}
    interval: 10s
    throttle: { alerts: 2, within: 60s }`),
    );
    const of = (ms: number, pid: number): void => engine.evaluate(at(ms, 'exec', { container: web, process: { pid } }));
    for (const ms of [0, 1000, 9999, 10_000]) of(ms, 1);
    expect([alerts.length, repeats.length]).toEqual([2, 2]);
    for (let pid = 2; pid < 1000; pid++) of(11_000, pid);
    expect([alerts.length, repeats.length]).toEqual([2, 2]);
    expect(engine.countsOf('shell-in-container')).toMatchObject({
      matched: 1002,
      alerts: 2,
      repeated: 2,
      suppressed: 998,
    });
    of(61_000, 7);
    expect(alerts).toHaveLength(3);
  });

  it('counts events, or different values, within a time and by a key', () => {
    const rule = (more: string): string => `
rules:
  - name: scan
    description: Many ports.
    severity: LOW
    trackers: tcp
    condition: tcpOperation == "CONNECT"
    message: '{process.comm}'
    key: []
    interval: 0s
    rate: { count: 3, within: 10s, by: [container.id]${more} }`;
    const connect = (ms: number, remotePort: number, container: object = web) =>
      at(ms, 'tcp', { container, tcpOperation: 'CONNECT', remotePort });

    const counted = engineOf(rulesOf(rule('')));
    for (const event of [connect(0, 80), connect(1, 80, db), connect(2, 80), connect(10_001, 80)])
      counted.engine.evaluate(event);
    expect(counted.alerts).toHaveLength(0); // the first had gone when the third came
    counted.engine.evaluate(connect(10_002, 80));
    expect(counted.alerts).toHaveLength(1);
    counted.engine.evaluate(connect(10_003, 80));
    expect(counted.alerts).toHaveLength(1); // it counts anew

    const distinct = engineOf(rulesOf(rule(', distinct: remotePort')));
    for (const port of [80, 80, 80, 443, 443]) distinct.engine.evaluate(connect(0, port));
    expect(distinct.alerts).toHaveLength(0);
    distinct.engine.evaluate(connect(1, 22));
    expect(distinct.alerts).toHaveLength(1);
  });

  it.each([
    ['process', [true, false, false, false]],
    ['tree', [true, true, true, false]],
    ['container', [true, true, true, true]],
  ])('finds a sequence in one %s', (by, expected) => {
    const set = rulesOf(`
rules:
  - name: download-and-run
    description: What was fetched is run.
    severity: HIGH
    message: '{process.comm}'
    key: []
    interval: 0s
    sequence:
      within: 10s
      by: ${by}
      steps:
        - { trackers: tcp, condition: 'tcpOperation == "CONNECT"' }
        - { trackers: exec, condition: 'true' }`);
    const shellProcess = known(50, 'sh', known(1, 'init'));
    const curl = known(100, 'curl', shellProcess);
    const others = [
      curl,
      known(101, 'child', curl),
      known(102, 'sibling', shellProcess),
      known(103, 'other', known(2, 'x')),
    ];
    const found = others.map((second) => {
      const { engine, alerts } = engineOf(set);
      engine.evaluate(at(0, 'tcp', { container: web, tcpOperation: 'CONNECT', known: curl }));
      engine.evaluate(at(1, 'exec', { container: web, process: { pid: second.pid }, known: second }));
      return alerts.length === 1;
    });
    expect(found).toEqual(expected);
  });

  it('takes a sequence in its order and its time, and each of its events once', () => {
    const set = rulesOf(`
rules:
  - name: twice
    description: Two of a kind.
    severity: LOW
    message: '{process.comm}'
    key: []
    interval: 0s
    sequence:
      within: 10s
      by: process
      steps:
        - { trackers: exec, condition: 'true' }
        - { trackers: exec, condition: 'true' }`);
    const { engine, alerts } = engineOf(set);
    engine.evaluate(at(0, 'exec'));
    expect(alerts).toHaveLength(0);
    engine.evaluate(at(10_001, 'exec'));
    expect(alerts).toHaveLength(0);
    engine.evaluate(at(20_000, 'exec'));
    expect(alerts).toHaveLength(1);
    engine.evaluate(at(20_001, 'exec')); // the one before was the end of a sequence, and begins none
    expect(alerts).toHaveLength(1);
    engine.evaluate(at(20_002, 'exec'));
    expect(alerts).toHaveLength(2);
  });

  it('misses a beat, though an event may be what it waits for and what it begins with', () => {
    const { engine, alerts } = engineOf(
      rulesOf(`
rules:
  - name: beat
    description: A beat is missing.
    severity: LOW
    trackers: exec
    condition: 'true'
    message: '{process.comm}'
    absence: { trackers: exec, condition: 'true', within: 1s, by: process }`),
    );
    for (const ms of [0, 900, 1800]) engine.evaluate(at(ms, 'exec'));
    engine.advance(32_700);
    expect(alerts).toHaveLength(0);
    engine.advance(32_801);
    expect(alerts).toHaveLength(1);
  });

  it('is evaluated on events with the options that it needs, where there are such with others too', () => {
    const counts = (name: string, message: string): string => `
  - name: ${name}
    description: d
    severity: LOW
    trackers: syscount
    condition: name == "socket"
    message: '${message}'
    interval: 0s`;
    const { engine, names } = engineOf(rulesOf(`rules:${counts('plain', 'm')}${counts('apart', '{argument}')}`));
    const event = at(0, 'syscount', { name: 'socket', argument: 2 });
    const variants = rulesOf(`rules:${counts('apart', '{argument}')}`).rules[0]?.variants;
    engine.evaluate(event, undefined, { variant: null });
    expect(names()).toEqual(['plain']);
    engine.evaluate(event, undefined, { variant: variants?.get('syscount') });
    expect(names()).toEqual(['plain', 'apart']);
    engine.evaluate(event);
    expect(names().slice(2).sort()).toEqual(['apart', 'plain']);
  });

  it('that throws is not evaluated any more, and the others are', () => {
    const set = rulesOf(
      `${vocabulary}${shell}${shell.replace('shell-in-container', 'other').replace('process.comm in shells', 'process.uid == 7')}`,
    );
    const { engine, names, failures } = engineOf(set);
    const process = { comm: 'sh', uid: 7, pid: 5 };
    const faulty = at(1, 'exec', { container: web, process });
    Object.defineProperty(faulty, 'args', {
      get: () => {
        throw new Error('a fault');
      },
    });
    engine.evaluate(faulty);
    expect(failures.map(([rule]) => rule)).toEqual(['shell-in-container', 'other']);
    engine.evaluate(at(2, 'exec', { container: web, process }));
    expect(names()).toEqual([]);
  });

  it('raises what another event should have followed', () => {
    const set = rulesOf(`
rules:
  - name: never-ends
    description: A process does not end.
    severity: LOW
    trackers: exec
    condition: process.comm == "job"
    message: '{process.comm}'
    absence: { trackers: exit, condition: 'true', within: 5s, by: process }`);
    const { engine, alerts } = engineOf(set);
    const job = (pid: number) => ({ process: { pid, comm: 'job' } });
    expect(engine.nextDueMs).toBeNull();
    engine.evaluate(at(0, 'exec', job(1)));
    engine.evaluate(at(1000, 'exec', job(2)));
    engine.evaluate(at(4000, 'exit', job(1)));
    expect(engine.nextDueMs).toBe(36_000);
    engine.advance(35_999);
    expect(alerts).toHaveLength(0);
    engine.advance(36_001);
    expect(alerts.map(({ process }) => Reflect.get(process, 'pid') as number)).toEqual([2]);
    expect(engine.nextDueMs).toBeNull();
  });

  it('raises what is due in pieces, between which others are evaluated', () => {
    const set = rulesOf(`rules:
  - name: hangs
    description: d
    severity: LOW
    trackers: exec
    condition: 'true'
    message: '{process.pid}'
    interval: 0s
    throttle: { alerts: 10000, within: 1s }
    absence: { trackers: exit, condition: 'true', within: 1s, by: process }`);
    const { engine, alerts } = engineOf(set);
    for (let pid = 1; pid <= 1000; pid++) engine.evaluate(at(0, 'exec', { process: { pid } }));
    let pieces = 0;
    for (const work = engine.advancing(60_000); !work.next().done;) pieces++;
    expect(alerts).toHaveLength(1000);
    expect(pieces).toBe(1000);
  });

  it('raises what it has not seen of an image that it knows, over a restart too', () => {
    const text = `
rules:
  - name: new-program
    description: A program that this image did not run before.
    severity: LOW
    trackers: exec
    condition: container != null
    message: '{process.comm}'
    key: [process.comm]
    firstSeen: { values: [process.comm], for: [container.image], learn: 60s }`;
    const set = rulesOf(text);
    const first = engineOf(set);
    const run = (to: ReturnType<typeof engineOf>, ms: number, comm: string, container: object = web): void =>
      to.engine.evaluate(at(ms, 'exec', { container, process: { comm } }));
    run(first, 0, 'nginx');
    run(first, 59_000, 'logrotate');
    run(first, 61_000, 'nginx');
    run(first, 61_000, 'sh');
    run(first, 61_000, 'postgres', db); // an image of its own
    expect(first.alerts.map(({ message }) => message)).toEqual(['sh']);

    const again = engineOf(set);
    again.engine.restore(first.engine.learned());
    for (const comm of ['nginx', 'logrotate', 'sh', 'nc']) run(again, 120_000, comm);
    expect(again.alerts.map(({ message }) => message)).toEqual(['nc']);

    const another = engineOf(rulesOf(text.replace('for: [container.image]', 'for: [container.name]')));
    another.engine.restore(first.engine.learned());
    run(another, 120_000, 'nginx');
    run(another, 181_000, 'sh');
    expect(another.alerts.map(({ message }) => message)).toEqual(['sh']);
  });

  it('goes on with what it has counted when others change', () => {
    const rate = `
  - name: many
    description: Many.
    severity: LOW
    trackers: exec
    condition: 'true'
    message: '{process.comm}'
    rate: { count: 3, within: 10s, by: [] }`;
    const before = engineOf(rulesOf(`rules:${rate}`));
    before.engine.evaluate(at(0, 'exec'));
    before.engine.evaluate(at(1, 'exec'));
    const after = engineOf(rulesOf(`${vocabulary}${shell}${rate}`), before.engine);
    after.engine.evaluate(at(2, 'exec'));
    expect(after.names()).toEqual(['many']);
  });
});

describe('rules that read what an engine tells of containers', () => {
  const rule = (name: string, condition: string, more = ''): string =>
    `  - { name: ${name}, description: d, severity: LOW, trackers: exec, message: m, condition: '${condition}'${more} }\n`;
  const set = rulesOf(
    `macros: { inside: container != null }\nrules:\n` +
      rule('privileged', 'inside && container.privileged') +
      rule('by-id', 'inside && container.id != "x"') +
      rule('excepted', 'inside', `, exceptions: [{ name: e, condition: container.name == "ci" }]`) +
      rule('by-key', 'inside', ', key: [container.image]'),
  );

  it('are told apart from others', () => {
    expect(set.rules.map(({ definition, readsEngine }) => [definition.name, readsEngine])).toEqual([
      ['privileged', true],
      ['by-id', false],
      ['excepted', true],
      ['by-key', true],
    ]);
  });

  it('wait with an event while it is held, and see it once', () => {
    const { engine, names } = engineOf(set);
    const container = {
      id: 'c',
      name: null as string | null,
      image: null as string | null,
      privileged: null as boolean | null,
    };
    const event = at(0, 'exec', { container });
    engine.evaluate(event, undefined, { hold: () => true });
    expect(names()).toEqual(['by-id']);
    Object.assign(container, { name: 'web', image: 'nginx', privileged: true });
    engine.evaluateHeld(event);
    expect(names()).toEqual(['by-id', 'privileged', 'excepted', 'by-key']);
    expect(engine.events).toBe(1);
  });
});

describe('the plan', () => {
  const conditions = [
    'process.comm == "sh"',
    'process.comm in ["sh", "bash"]',
    'path.startsWith("/etc/")',
    'path.startsWith("/etc/s") || path.startsWith("/root/")',
    '(path.startsWith("/etc/") || path.startsWith("/etc/shadow")) && process.uid == 0',
    'path == "/etc/shadow" && process.comm != "sshd"',
    'errno == "ENOENT" && path.endsWith("x")',
    'process.uid in [0, 7]',
    '!(process.comm == "sh")',
    'container.name == "web"',
    'process.parent.comm == "sshd"',
  ];
  const text = (chosen: readonly number[]): string =>
    `rules:${chosen
      .map(
        (i) => `
  - name: r${i}
    description: d
    severity: LOW
    trackers: open
    condition: '${conditions[i] ?? ''}'
    message: m
    interval: 0s
    throttle: { alerts: 10000, within: 1s }`,
      )
      .join('')}`;

  it('finds the same rules as comparing each event with each of them', async () => {
    const event = fc.record({
      path: fc.constantFrom('/etc/shadow', '/etc/x', '/root/x', '/tmp/x', '/etc/', '/'),
      errno: fc.constantFrom(null, 'ENOENT'),
      comm: fc.constantFrom('sh', 'bash', 'sshd'),
      uid: fc.constantFrom(0, 7, 1000),
      container: fc.constantFrom(null, web, db),
      parent: fc.constantFrom('sshd', 'init'),
    });
    const indexes = fc.uniqueArray(fc.nat({ max: conditions.length - 1 }), { minLength: 1 });
    await holdsFor(
      fc.property(indexes, fc.array(event, { maxLength: 20 }), (chosen, events) => {
        const set = rulesOf(text(chosen));
        const { engine, alerts } = engineOf(set);
        const expected: string[] = [];
        events.forEach(({ comm, uid, parent, ...fields }, i) => {
          const made = at(i, 'open', { ...fields, process: { comm, uid }, known: known(100, comm, known(7, parent)) });
          for (const { definition, steps } of set.rules)
            if (steps[0]?.filter.matches(made)) expected.push(`${i} ${definition.name}`);
          engine.evaluate(made);
        });
        const found = alerts.map(
          ({ time, rule }) => `${Date.parse(time) - Date.parse('2026-01-31T08:15:30Z')} ${rule}`,
        );
        expect(found.sort()).toEqual(expected.sort());
      }),
    );
  });

  it('compares an event with those rules only that name its value', () => {
    const many = Array.from(
      { length: 100 },
      (_, i) => `
  - name: p${i}
    description: d
    severity: LOW
    trackers: exec
    condition: process.comm == "program${i}"
    message: m`,
    ).join('');
    const { engine } = engineOf(rulesOf(`rules:${many}`));
    engine.evaluate(at(0, 'exec', { process: { comm: 'program7' } }));
    engine.evaluate(at(0, 'exec', { process: { comm: 'sh' } }));
    expect([engine.events, engine.comparisons]).toEqual([2, 1]);
  });
});

describe('a step of the wall clock', () => {
  const hangs = `rules:
  - name: hangs
    description: d
    severity: LOW
    message: m
    trackers: exec
    condition: process.comm == "job"
    absence: { trackers: exit, condition: 'true', within: 1s, by: process }`;

  it('makes no other process of the one that has started', () => {
    const { engine, names } = engineOf(rulesOf(hangs));
    engine.evaluate(at(0, 'exec', { process: { comm: 'job', startTime: '2026-01-31T08:15:29.000000000Z' } }));
    const later = {
      time: '2026-01-31T08:15:35.005000000Z',
      process: { comm: 'job', startTime: '2026-01-31T08:15:34.000000000Z' },
    };
    engine.evaluate(at(5, 'exit', later));
    engine.advance(99_999_999);
    expect(names()).toEqual([]);
  });
});

describe('what an engine keeps', () => {
  const text = (more: string): string => `rules:
  - { name: r, description: d, severity: LOW, message: m, trackers: open, condition: 'true', ${more} }`;

  it('of a long key is its digest, and of a repetition no evidence', () => {
    const { engine, alerts, repeats } = engineOf(rulesOf(text('key: [path]')));
    for (let i = 0; i < 2; i++) engine.evaluate(at(i, 'open', { path: 'a'.repeat(4000) }));
    expect(alerts[0]?.key).toMatch(/^[0-9a-f]{64}$/);
    expect(alerts[0]?.evidence).not.toBeNull();
    expect(repeats[0]).toMatchObject({ key: alerts[0]?.key, evidence: null });
  });

  it('of values that it forgets is their number', () => {
    const { engine } = engineOf(rulesOf(text('firstSeen: { values: [path], for: [], learn: 1h }')));
    for (let i = 0; i < 4001; i++) engine.evaluate(at(i, 'open', { path: `/${i}` }));
    expect(engine.evictedOf('r')).toBe(1);
  });
});
