import { stringify } from 'yaml';
import type { Advice } from '../../../event/advice.js';
import { allowedBy } from '../seccomp.js';
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
  const list = (what: string): string => `${name.replaceAll('-', '_')}_${what}`;
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
      [list('capabilities')]: rights.capabilities.length ? rights.capabilities : ['none'],
      ...(programs.length ? { [list('programs')]: programs } : {}),
      [list('ports')]: rights.ports.length ? rights.ports.map(({ port }) => port) : [0],
    },
    rules: [
      rule(
        'other-call',
        'MEDIUM',
        'syscount',
        `${ofRuntime} && !(name in ${list('calls')})`,
        '{process.comm} called {name}',
      ),
      rule(
        'other-capability',
        'MEDIUM',
        'capability',
        `${ofRuntime} && granted && !(capability in ${list('capabilities')})`,
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
        `bindOperation == "LISTEN" && errno == null && !(localPort in ${list('ports')})`,
        '{process.comm} listens on port {localPort}',
      ),
    ],
  });
}
