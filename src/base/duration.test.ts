import { expect, it } from 'vitest';
import { formatDuration, parseDuration } from './duration.js';

it.each(['0s', '1ns', '1500us', '500ms', '90s', '5m', '24h'])('reads %s, and writes it', (text) => {
  expect(formatDuration(parseDuration(text) ?? Number.NaN)).toBe(text);
});
