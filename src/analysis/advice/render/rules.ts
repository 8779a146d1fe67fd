import { stringify } from 'yaml';
import type { Advice } from '../../../event/advice.js';
import { callArguments } from '../../../linux/call-arguments.js';
import { allowedBy, valuesIn } from '../seccomp.js';
import { profileName } from './name.js';

/** Values of one list, and of all those that a condition names, at most: see `src/rules/list.ts` and the budget of filters. */
const MAX_LIST = 1000;
const MAX_VALUES = 9000;

/** Rules that raise an alert when the container does what the recommendation has not, for `--rules`. */
export function rules(advice: Advice): string {
  const { rights, subject, observation } = advice;
  const name = profileName(advice);
  const { container, image } = subject;
  const own =
    container?.name != null
      ? `container.name == ${JSON.stringify(container.name)}`
      : `container.image == ${JSON.stringify(image ?? '')}`;
  const programs = [...new Set(observation.programs.filter(({ runtime }) => !runtime).map(({ path }) => path))];
  const filtered = Object.keys(callArguments).flatMap((call) => {
    const values = valuesIn(rights.seccomp, call);
    return values === null || values.includes(null) ? [] : [{ call, values }];
  });
  const lists: Record<string, readonly unknown[]> = {};
  /** That the field has none of these values. What there is none of has no list: one has values that there are. */
  const noneOf = (field: string, what: string, values: readonly unknown[]): string => {
    const parts = Array.from({ length: Math.ceil(values.length / MAX_LIST) }, (_, i) => {
      const list = `${name.replaceAll('-', '_')}_${what}${i > 0 ? `_${i + 1}` : ''}`;
      lists[list] = values.slice(i * MAX_LIST, (i + 1) * MAX_LIST);
      return `${field} in ${list}`;
    });
    return parts.length > 0 ? `!(${parts.join(' || ')})` : 'true';
  };
  const left: string[] = [];
  /** Rules on a field that has one of these values; none where a filter could not name them all. */
  const ifNamed = (what: string, values: readonly unknown[], rule: () => object): object[] => {
    if (values.length <= MAX_VALUES) return [rule()];
    left.push(`${values.length} ${what}, more than a condition may name: no rule watches for others`);
    return [];
  };
  const rule = (what: string, severity: string, trackers: string, condition: string, message: string): object => ({
    name: `${name}-${what}`,
    description: `The container does what its recommendation does not have: ${what.replaceAll('-', ' ')}.`,
    severity,
    trackers,
    condition: `${own} && ${condition}`,
    message,
    key: ['container.id'],
    interval: '1h',
  });
  const ofRuntime = '!process.comm.startsWith("runc")';
  const ports = rights.ports.map(({ port }) => port);
  const all = [
    rule(
      'other-call',
      'MEDIUM',
      'syscount',
      `${ofRuntime} && ${noneOf('name', 'calls', allowedBy(rights.seccomp))}`,
      '{process.comm} called {name}',
    ),
    ...filtered.flatMap(({ call, values }) =>
      ifNamed(`arguments of ${call}`, values, () =>
        rule(
          `other-argument-of-${call}`,
          'MEDIUM',
          'syscount',
          `${ofRuntime} && name == "${call}" && argument != null && ${noneOf('argument', `${call}_arguments`, values)}`,
          `{process.comm} called ${call} with {argument}`,
        ),
      ),
    ),
    rule(
      'other-capability',
      'MEDIUM',
      'capability',
      `${ofRuntime} && granted && ${noneOf('capability', 'capabilities', rights.capabilities)}`,
      '{process.comm} used {capability}',
    ),
    ...(programs.length === 0
      ? []
      : ifNamed('programs', programs, () =>
          rule(
            'other-program',
            'HIGH',
            'exec',
            `errno == null && ${ofRuntime} && ${noneOf('executable', 'programs', programs)}`,
            '{process.comm} executes {executable}',
          ),
        )),
    ...ifNamed('ports', ports, () =>
      rule(
        'other-port',
        'HIGH',
        'bind',
        `bindOperation == "LISTEN" && errno == null && ${noneOf('localPort', 'ports', ports)}`,
        '{process.comm} listens on port {localPort}',
      ),
    ),
  ];
  return [...left.map((one) => `# There are ${one}.\n`), stringify({ lists, rules: all })].join('');
}
