import { writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { fly } from '../support/flight.js';
import { harness } from '../support/session.js';

/** For the bench, which flies further (bench/query/flight.ts): how many filters, and the file that takes what came of it as JSON. */
const { EUNOMIA_FLIGHT_FILTERS, EUNOMIA_FLIGHT_BATCH, EUNOMIA_FLIGHT_FILE } = process.env;
const wanted = Number(EUNOMIA_FLIGHT_FILTERS ?? 72);

describe('filters in the kernel', () => {
  it(
    'agree with the predicate in user space on every event, for random filters over a real workload',
    async () => {
      const flight = await fly(await harness(), {
        filters: wanted,
        batch: Number(EUNOMIA_FLIGHT_BATCH ?? 12),
        seed: 20_261_124,
      });
      const { differences, filters, pushed, taken, refused } = flight;
      if (EUNOMIA_FLIGHT_FILE !== undefined)
        await writeFile(
          EUNOMIA_FLIGHT_FILE,
          JSON.stringify({ ...flight, differences: differences.length, first: differences.slice(0, 5) }),
        );
      expect(differences).toEqual([]);
      // Else the test would say little.
      expect(filters).toBe(wanted);
      expect(pushed).toBeGreaterThan(wanted / 2);
      expect(taken).toBeGreaterThan(wanted * 7);
      expect(refused).toBeGreaterThan(wanted * 7);
    },
    120_000 + 200 * wanted,
  );
});
