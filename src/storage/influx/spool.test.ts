import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { Spool, type SpoolOptions } from './spool.js';

const folder = mkdtempSync(join(tmpdir(), 'eunomia-spool-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
const fresh = (): string => join(folder, String(count++));
const large: SpoolOptions = { maxBytes: 1 << 20, drop: 'OLDEST' };
const recordOf = (text: string, points = 1) => ({ payload: Buffer.from(text), points });

async function drain(spool: Spool): Promise<string[]> {
  const seen: string[] = [];
  for (let record = await spool.peek(); record; record = await spool.peek()) {
    seen.push(record.payload.toString());
    await spool.acknowledge(record);
  }
  return seen;
}

/** What another server finds after a crash: the files as they are. */
function crashed(directory: string): string {
  const copy = fresh();
  cpSync(directory, copy, { recursive: true });
  return copy;
}

const segments = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith('.points'))
    .map((name) => join(directory, name));

describe('a spool', () => {
  it('gives back what it was given, in order, over segments and restarts', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ minLength: 1, maxLength: 3000 }), { maxLength: 30 }),
        fc.nat(30),
        async (texts, sent) => {
          const directory = fresh();
          const first = await Spool.open(directory, { maxBytes: 1 << 18, drop: 'OLDEST' });
          await Promise.all(texts.map((text) => first.append(recordOf(text, 2))));
          expect(first.points).toBe(texts.length * 2);
          for (let i = 0; i < Math.min(sent, texts.length); i++) {
            const record = await first.peek();
            if (record) await first.acknowledge(record);
          }
          const second = await Spool.open(crashed(directory), { maxBytes: 1 << 18, drop: 'OLDEST' });
          const rest = texts.slice(sent);
          expect(second.points).toBe(rest.length * 2);
          await second.append(recordOf('new'));
          expect(await drain(second)).toEqual([...rest, 'new']);
          expect(second).toMatchObject({ points: 0, bytes: 0, dropped: 0, isEmpty: true });
          await Promise.all([first.close(), second.close()]);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('cuts off a record that a crash left unfinished, wherever it was cut, and goes on behind it', async () => {
    const directory = fresh();
    const spool = await Spool.open(directory, large);
    await spool.append(recordOf('first'));
    await spool.append(recordOf('second'));
    await spool.close();
    const [file = ''] = segments(directory);
    const size = statSync(file).size;
    const half = size - (16 + 'second'.length);
    for (let end = half + 1; end < size; end += 3) {
      const copy = fresh();
      cpSync(directory, copy, { recursive: true });
      truncateSync(segments(copy)[0] ?? '', end);
      const again = await Spool.open(copy, large);
      expect(again).toMatchObject({ points: 1, damagedBytes: end - half });
      await again.append(recordOf('third'));
      expect(await drain(again)).toEqual(['first', 'third']);
      await again.close();
    }
  });

  it('never gives out a record that is spoiled', async () => {
    const directory = fresh();
    const spool = await Spool.open(directory, large);
    await spool.append(recordOf('whole'));
    await spool.append(recordOf('spoiled'));
    await spool.close();
    const [file = ''] = segments(directory);
    const bytes = readFileSync(file);
    bytes[bytes.length - 2] = 0;
    writeFileSync(file, bytes);
    appendFileSync(file, 'rubbish');
    const again = await Spool.open(directory, large);
    expect(await drain(again)).toEqual(['whole']);
    await again.close();
  });

  it.each(['OLDEST', 'NEWEST'] as const)('keeps to its bound, drops the %s and counts each', async (drop) => {
    const directory = fresh();
    const spool = await Spool.open(directory, { maxBytes: 8000, drop });
    const texts = Array.from({ length: 100 }, (_, i) => `${i} `.padEnd(184, 'x'));
    for (const text of texts) await spool.append(recordOf(text, 3));
    expect(segments(directory).reduce((sum, file) => sum + statSync(file).size, 0)).toBeLessThanOrEqual(8000);
    expect(spool.points + spool.dropped).toBe(300);
    const kept = await drain(spool);
    expect(kept.length).toBeGreaterThan(30);
    expect(kept).toEqual(drop === 'OLDEST' ? texts.slice(-kept.length) : texts.slice(0, kept.length));
    await spool.close();
  });

  it('says that a record which it dropped under way is not acknowledged', async () => {
    const spool = await Spool.open(fresh(), { maxBytes: 2000, drop: 'OLDEST' });
    await spool.append(recordOf('x'.repeat(200)));
    const record = await spool.peek();
    for (let i = 0; i < 20; i++) await spool.append(recordOf('y'.repeat(200)));
    expect(record && (await spool.acknowledge(record))).toBe(false);
    await spool.close();
  });

  it("is one server's at a time", async () => {
    const directory = fresh();
    const spool = await Spool.open(directory, large);
    await expect(Spool.open(directory, large)).rejects.toThrow(
      /has this spool; give each server a directory of its own/,
    );
    await spool.close();
    await (await Spool.open(directory, large)).close();
    writeFileSync(join(directory, 'lock'), '1'); // what a server that was killed has left
    await (await Spool.open(directory, large)).close();
  });

  it('says why a directory cannot be used', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await expect(Spool.open(join(file, 'below'), large)).rejects.toThrow(
      /the spool directory .* cannot be used: ENOTDIR/,
    );
  });
});
