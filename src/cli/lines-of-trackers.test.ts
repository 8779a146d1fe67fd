import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import { root } from '../base/paths.js';
import { loadTrackers } from '../catalog/load.js';
import { EventLines } from './lines.js';
import { textAt, columnOf } from './field.js';
import { DetailsTemplate } from '../event/details.js';

/** The sample of each tracker in docs/trackers.md, which a test made with a real kernel. */
const samples = new Map(
  readFileSync(join(root, 'docs/trackers.md'), 'utf8')
    .split('\n## ')
    .slice(1)
    .flatMap((section): [string, Record<string, unknown>][] => {
      const [name = ''] = section.split('\n');
      const [, json] = /```json\n(\{.*?\n\})\n```/s.exec(section) ?? [];
      const types = Object.fromEntries(
        [...section.matchAll(/^\| `(\w+)` \| `([^`]+)` \| (?:always|on demand) /gm)].map(([, field, type]) => [
          field,
          type,
        ]),
      );
      return json ? [[name, { event: JSON.parse(json) as unknown, types }]] : [];
    }),
);
const definitions = await loadTrackers();

describe.each(definitions.map(({ name, details = '' }) => [name, details] as const))(
  'a line of %s',
  (name, details) => {
    const { event, types } = samples.get(name) as {
      event: Record<string, unknown>;
      types: Readonly<Record<string, string>>;
    };
    const told = new DetailsTemplate(details).render((field) => ({
      value: event[field],
      type: types[field] ?? 'String',
    }));
    const line = {
      time: textAt(event, columnOf('time')).replace(/Z$/, ''),
      container: 'eunomia-web-1',
      pid: textAt(event, columnOf('process.pid')),
      comm: textAt(event, columnOf('process.comm')),
      event: name,
      details: told,
      hasFailed: false,
    };

    it('tells what happened', () => {
      expect(told).not.toBe('');
      expect(told).not.toMatch(/(^| )\?/);
    });

    it.each([60, 80, 120, 200])('fits a terminal of %d columns, in one line with the whole time', (width) => {
      for (const several of [false, true]) {
        const [head = '', text = '', end] = String(
          new EventLines({ width, hasColor: false }, several).render([line]),
        ).split('\n');
        expect(end).toBe('');
        for (const each of [head, text]) expect(stringWidth(each)).toBeLessThanOrEqual(width);
        expect(text).toMatch(/^\d\d:\d\d:\d\d\.\d{3} /);
        // What is read first is there: of the details, a dozen characters, where there are so many.
        expect(text).toContain(told.slice(0, 12));
      }
    });
  },
);
