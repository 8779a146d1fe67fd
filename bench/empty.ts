import { BpfObject } from '#eunomia/kernel/object.js';
import { buildEmpty } from './build.js';

/** Attaches the programs of an object of bench/empty.bpf.c's kind, which do nothing. */
export async function startEmpty(path: string, unneeded: readonly string[] = []): Promise<BpfObject> {
  const object = await BpfObject.open({ name: 'empty', path, constants: {}, unneeded });
  try {
    await object.load();
    await object.attach();
  } catch (error) {
    await object.close();
    throw error;
  }
  return object;
}

/** The same on each of these hooks: "tp_btf/sys_exit". */
export async function startEmptyAt(hooks: readonly string[]): Promise<BpfObject> {
  return startEmpty(await buildEmpty(hooks));
}
