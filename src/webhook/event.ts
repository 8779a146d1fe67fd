import type { AlertAction } from '../alerts/alert.js';

/** What can happen to an alert: it is raised, or somebody changes it. */
export const events = ['raised', 'acknowledged', 'resolved', 'reopened', 'commented', 'acted'] as const;
export type AlertEvent = (typeof events)[number];

const eventOfAction: Readonly<Record<AlertAction, AlertEvent>> = {
  ACKNOWLEDGED: 'acknowledged',
  RESOLVED: 'resolved',
  REOPENED: 'reopened',
  COMMENTED: 'commented',
  ACTED: 'acted',
};

export function eventOf(action: AlertAction | null): AlertEvent {
  return action === null ? 'raised' : eventOfAction[action];
}
