import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, it } from 'vitest';
import { storesOfTest } from '../../../test/support/store.js';
import { copyName, copyTables, type CopyOptions } from './copy.js';

const { directory, opened, atEnd } = storesOfTest();
const GIB = 2 ** 30;

async function copying(more: Partial<CopyOptions>) {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  atEnd(async () => connection.closeSync());
  await connection.run('CREATE TABLE t AS SELECT range AS n FROM range(100000)');
  const path = await directory();
  const copied = copyTables({
    ...{ connection, to: join(path, 'copy'), free: async () => 100 * GIB, leave: 0, needs: 0 },
    ...{ signal: new AbortController().signal, ...more },
  });
  return { path, copied };
}

describe('a copy of the history', () => {
  it('tells how much room it needs, also beyond 2 GiB', async () => {
    const { copied } = await copying({ free: async () => 3 * GIB, needs: 10 * GIB, leave: 1 });
    await expect(copied).rejects.toThrow(/it needs 10241 MiB, .* and 3072 MiB are free/);
  });

  it('goes on where the free room cannot be told for a while', async () => {
    let asked = 0;
    const free = async (): Promise<number> => {
      if (asked++ > 0) throw new Error('statfs: EIO');
      return GIB;
    };
    const { path, copied } = await copying({ free });
    await copied;
    expect(await readdir(path)).toEqual(['copy']);
  });

  it('is removed once a server has opened the file, but nothing else is', async () => {
    const path = await directory();
    const file = join(path, 'eunomia.duckdb');
    const own = copyName(file);
    const others = ['copy-before-upgrade', 'copy-0123456789ab.gz', 'copy-0123456789AB', 'copy-0123456789abc'];
    for (const name of [own, `${own}.wal`, ...others.map((other) => `${file}.${other}`)]) await writeFile(name, '');
    const names = async (): Promise<readonly string[]> =>
      (await readdir(path)).filter((name) => name.includes('.copy-')).toSorted();
    // As one that another server has: the copy may be its.
    await writeFile(file, 'no database'.repeat(1000));
    const store = opened(path);
    await store.open().catch(() => undefined);
    expect(await names()).toHaveLength(2 + others.length);
    await store.close();
    await rm(file);
    await opened(path).open();
    expect(await names()).toEqual(others.map((other) => `eunomia.duckdb.${other}`).toSorted());
  });
});
