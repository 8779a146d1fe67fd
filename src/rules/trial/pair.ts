import type { ExpectedAlert } from './file.js';
import type { TrialAlert } from './run.js';

/** Expected alerts that say the same, or raised ones that are the same to them. */
interface Alike<Member> {
  readonly first: Member;
  readonly members: Member[];
}

/** What raised alerts that are the same have left, and who has taken the rest. */
interface Supply extends Alike<TrialAlert> {
  free: number;
  readonly taken: Map<Demand, number>;
}

interface Demand extends Alike<ExpectedAlert> {
  readonly fitting: readonly Supply[];
  /** Of `fitting`, those before it have nothing left. */
  next: number;
}

/**
 * An alert for each that is expected, as many as can be: one that says little leaves the others to those that say more. Those that are
 * alike are handled as one, so that thousands of equal ones take no longer than a few.
 */
export function pairsOf(
  expected: readonly ExpectedAlert[],
  raised: readonly TrialAlert[],
): ReadonlyMap<ExpectedAlert, TrialAlert> {
  const supplies = alike(raised, ({ alert: { rule, message, severity, process, container }, times }) => [
    rule,
    message,
    severity,
    process,
    container,
    times,
  ]).map((one): Supply => ({ ...one, free: one.members.length, taken: new Map() }));
  const demands = alike(expected, ({ rule, message, severity, process, container, times }) => [
    rule,
    message,
    severity,
    process,
    container,
    times,
  ]).map((one): Demand => ({ ...one, fitting: supplies.filter(({ first }) => fits(one.first, first)), next: 0 }));
  for (const demand of demands) for (let i = 0; i < demand.members.length && take(demand, new Set()); i++);
  const places = new Map(raised.map((one, i) => [one, i]));
  const placeOf = (one: TrialAlert): number => places.get(one) ?? 0;
  const given = new Map(demands.map((demand): [Demand, TrialAlert[]] => [demand, []]));
  for (const { members, taken } of supplies) {
    let at = 0;
    for (const [demand, count] of taken) given.get(demand)?.push(...members.slice(at, (at += count)));
  }
  const pairs = new Map<ExpectedAlert, TrialAlert>();
  for (const [{ members }, own] of given)
    own
      .sort((a, b) => placeOf(a) - placeOf(b))
      .forEach((one, i) => {
        const member = members[i];
        if (member) pairs.set(member, one);
      });
  return pairs;
}

/** Takes one more; from others where they have what else to take. */
function take(demand: Demand, tried: Set<Supply>): boolean {
  const { fitting } = demand;
  while (fitting[demand.next]?.free === 0) demand.next++;
  const free = fitting[demand.next];
  if (free) {
    free.free--;
    free.taken.set(demand, (free.taken.get(demand) ?? 0) + 1);
    return true;
  }
  for (const supply of fitting) {
    if (tried.has(supply)) continue;
    tried.add(supply);
    for (const [other, count] of supply.taken) {
      if (other === demand || count === 0 || !take(other, tried)) continue;
      supply.taken.set(other, count - 1);
      supply.taken.set(demand, (supply.taken.get(demand) ?? 0) + 1);
      return true;
    }
  }
  return false;
}

function alike<Member>(members: readonly Member[], saying: (member: Member) => unknown): readonly Alike<Member>[] {
  const found = new Map<string, Alike<Member>>();
  for (const member of members) {
    const key = JSON.stringify(saying(member));
    const known = found.get(key);
    if (known) known.members.push(member);
    else found.set(key, { first: member, members: [member] });
  }
  return [...found.values()];
}

/** Whether `differencesOf` finds none. */
function fits(expected: ExpectedAlert, { alert, times }: TrialAlert): boolean {
  return (
    alert.rule === expected.rule &&
    times === expected.times &&
    (expected.message === null || alert.message === expected.message) &&
    (expected.severity === null || alert.severity === expected.severity) &&
    (expected.container === null ? alert.container === null : has(alert.container, expected.container)) &&
    has(alert.process, expected.process)
  );
}

function has(is: object | null, expected: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(expected).every(([name, value]) => String(is && Reflect.get(is, name)) === String(value));
}

export function differencesOf(expected: ExpectedAlert, { alert, times }: TrialAlert): readonly string[] {
  const wanted: (readonly [name: string, is: unknown, expected: unknown])[] = [
    ...(expected.message === null ? [] : [['message', alert.message, expected.message] as const]),
    ...(expected.severity === null ? [] : [['severity', alert.severity, expected.severity] as const]),
    ['times', times, expected.times],
    ...inner('process', alert.process, expected.process),
    ...inner('container', alert.container, expected.container),
  ];
  return wanted
    .filter(([, is, to]) => String(is) !== String(to))
    .map(([name, is, to]) => `${name} ${JSON.stringify(is)}, not ${JSON.stringify(to)}`);
}

function inner(
  name: string,
  is: object | null,
  expected: Readonly<Record<string, unknown>> | null,
): (readonly [string, unknown, unknown])[] {
  if (expected === null) return [[name, is, null]];
  return Object.entries(expected).map(([field, value]) => [
    `${name}.${field}`,
    is && (Reflect.get(is, field) as unknown),
    value,
  ]);
}
