import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { engineOf, rulesOf } from '../../../test/support/rules.js';
import { createLog } from '../../base/log.js';
import { FirstSeenBook } from '../../rules/first-seen.js';
import { LearnedFile } from './learned.js';

const silent = createLog('silent');
const made: string[] = [];
afterEach(async () => {
  for (const path of made.splice(0)) await rm(path, { recursive: true });
});

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'eunomia-learned-'));
  made.push(path);
  return path;
}

function learningEngine(...names: string[]) {
  const rules = names.map(
    (name) => `
  - name: ${name}
    description: What is new.
    severity: LOW
    trackers: exec
    condition: 'true'
    message: '{process.comm}'
    firstSeen: { values: [process.comm], for: [container.image], learn: 1h }`,
  );
  return engineOf(rulesOf(`rules:${rules.join('')}`)).engine;
}

function bookOf(engine: ReturnType<typeof learningEngine>, name: string): FirstSeenBook {
  return engine.learned().get(name)?.book ?? new FirstSeenBook();
}

describe('what rules have learned', () => {
  it('is read again as it was', async () => {
    const path = await directory();
    const engine = learningEngine('a', 'b');
    for (const [subject, value] of ['xy', 'xz', 'wy'].map(([s, v]) => [s ?? '', v ?? ''] as const))
      bookOf(engine, 'a').isNew(subject, value, 5, 0);
    const file = new LearnedFile(path, silent);
    await file.kept();
    file.follow(engine);
    await file.close();

    const again = learningEngine('a', 'b');
    again.restore(await new LearnedFile(path, silent).kept());
    expect([...bookOf(again, 'a').stored()]).toEqual([
      { subject: 'w', since: 5, values: ['y'] },
      { subject: 'x', since: 5, values: ['y', 'z'] },
    ]);
    expect([...bookOf(again, 'b').stored()]).toEqual([]);
  });

  it('is not written beyond what can be read: each rule keeps what it used last', async () => {
    const path = await directory();
    const engine = learningEngine('a', 'b');
    for (const name of ['a', 'b'])
      for (let i = 0; i < 100; i++) bookOf(engine, name).isNew(`image-${i}`, 'a-value', 5, 0);
    const file = new LearnedFile(path, silent, 4000);
    await file.kept();
    file.follow(engine);
    await file.close();

    const kept = await new LearnedFile(path, silent, 4000).kept();
    const subjects = [...kept.values()].map(({ book }) => [...book.stored()].map(({ subject }) => subject));
    expect(subjects.map(([first]) => first)).toEqual(['image-99', 'image-99']);
    expect(Math.abs((subjects[0]?.length ?? 0) - (subjects[1]?.length ?? 0))).toBeLessThanOrEqual(1);
    expect(subjects[0]?.length).toBeGreaterThan(5);
  });

  it('of rules that are away is kept for a hundred of them', async () => {
    const file = new LearnedFile(await directory(), silent);
    await file.kept();
    for (let i = 0; i < 150; i++) file.follow(learningEngine(`rule-${i}`));
    const names = [...(await file.kept()).keys()];
    expect([names.length, names[0], names.at(-1)]).toEqual([101, 'rule-49', 'rule-149']);
  });

  it('is learned anew where the file is damaged', async () => {
    const path = await directory();
    await writeFile(join(path, 'rules-learned.ndjson'), '{"format":1}\n{"rule"', { mode: 0o600 });
    const file = new LearnedFile(path, silent);
    expect((await file.kept()).size).toBe(0);
    file.follow(learningEngine('a'));
    await file.close();
    expect(await readFile(join(path, 'rules-learned.ndjson'), 'utf8')).toBe('{"format":1}\n');
  });

  it.each([
    ['of a newer version', 0o600],
    ['that others may write to, so that nobody reads it', 0o666],
  ])('is not written to a file %s', async (_what, mode) => {
    const path = await directory();
    const name = join(path, 'rules-learned.ndjson');
    await writeFile(name, '{"format":9}\n', { mode: 0o600 });
    await chmod(name, mode);
    const file = new LearnedFile(path, silent);
    expect((await file.kept()).size).toBe(0);
    file.follow(learningEngine('a'));
    await file.close();
    expect(await readFile(name, 'utf8')).toBe('{"format":9}\n');
  });
});
