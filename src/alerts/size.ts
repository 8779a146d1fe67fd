import type { Alert, AlertChange } from './alert.js';

/** Of an alert without its texts. */
const ALERT_BYTES = 1024;
const CHANGE_BYTES = 128;

/** About what an alert takes in memory. */
export function bytesOf({ title, message, evidence, after, key, tags, attack, history }: Alert): number {
  const texts = [title, message, evidence ?? '', after?.events ?? '', key ?? '', ...tags, ...attack];
  return (
    texts.reduce((sum, text) => sum + text.length, ALERT_BYTES) +
    history.reduce((sum, change) => sum + bytesOfChange(change), 0)
  );
}

/** The same of what somebody did with it. */
export function bytesOfChange({ by, comment }: AlertChange): number {
  return CHANGE_BYTES + by.length + (comment?.length ?? 0);
}
