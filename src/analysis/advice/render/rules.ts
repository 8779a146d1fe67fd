import { stringify } from 'yaml';
import type { Advice } from '../../../event/advice.js';
import { callArguments } from '../../../linux/call-arguments.js';
import { allowedBy, valuesIn } from '../seccomp.js';
import { profileName } from './name.js';

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
  const list = (what: string): string => `${name.replaceAll('-', '_')}_${what}`;
  // What there is none of has no list: one has values that there are.
  const unlessIn = (field: string, what: string, values: readonly unknown[]): string =>
    values.length ? ` && !(${field} in ${list(what)})` : '';
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
  return stringify({
    lists: {
      [list('calls')]: allowedBy(rights.seccomp),
      ...(rights.capabilities.length ? { [list('capabilities')]: rights.capabilities } : {}),
      ...Object.fromEntries(filtered.map(({ call, values }) => [list(`${call}_arguments`), values])),
      ...(programs.length ? { [list('programs')]: programs } : {}),
      ...(rights.ports.length ? { [list('ports')]: rights.ports.map(({ port }) => port) } : {}),
    },
    rules: [
      rule(
        'other-call',
        'MEDIUM',
        'syscount',
        `${ofRuntime} && !(name in ${list('calls')})`,
        '{process.comm} called {name}',
      ),
      ...filtered.map(({ call }) =>
        rule(
          `other-argument-of-${call}`,
          'MEDIUM',
          'syscount',
          `${ofRuntime} && name == "${call}" && argument != null && !(argument in ${list(`${call}_arguments`)})`,
          `{process.comm} called ${call} with {argument}`,
        ),
      ),
      rule(
        'other-capability',
        'MEDIUM',
        'capability',
        `${ofRuntime} && granted${unlessIn('capability', 'capabilities', rights.capabilities)}`,
        '{process.comm} used {capability}',
      ),
      ...(programs.length
        ? [
            rule(
              'other-program',
              'HIGH',
              'exec',
              `errno == null && ${ofRuntime} && !(executable in ${list('programs')})`,
              '{process.comm} executes {executable}',
            ),
          ]
        : []),
      rule(
        'other-port',
        'HIGH',
        'bind',
        `bindOperation == "LISTEN" && errno == null${unlessIn('localPort', 'ports', rights.ports)}`,
        '{process.comm} listens on port {localPort}',
      ),
    ],
  });
}
