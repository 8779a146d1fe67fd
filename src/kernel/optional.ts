import { KernelError } from '../base/errors.js';
import { imageOf } from './image.js';
import { ImageObject } from './image-object.js';
import type { KernelObject } from './kernel-object.js';
import { BpfObject } from './object.js';
import type { ObjectSpec, RefusedProgram } from './object-spec.js';

/** What the kernel, or libbpf, says of a hook that it does not have or does not let anybody use. 524 is its own ENOTSUPP. */
const LACKING: ReadonlySet<string | null> = new Set(['ENOENT', 'ESRCH', 'EINVAL', 'EPERM', 'EOPNOTSUPP', '524']);

interface Without {
  readonly missing: readonly string[];
  readonly refused: readonly RefusedProgram[];
}

type Attempt = { readonly object: BpfObject } | { readonly error: unknown; readonly refused: RefusedProgram | null };

/**
 * Opens and loads an object, without those of its optional programs whose hook this kernel lacks and those that its
 * verifier refuses: the object's `unloaded` tells them apart. `prepare` is called between opening and loading, once an
 * attempt. Rejects as `open` and `load` do where it is not for optional programs alone; nothing of an attempt that
 * failed stays.
 */
export async function loadOptional(
  spec: ObjectSpec,
  prepare: (object: KernelObject) => void = () => {},
): Promise<KernelObject> {
  const image = imageOf(spec.path);
  const object = image && ImageObject.open(spec, image);
  if (object) {
    try {
      prepare(object);
      await object.load();
      return object;
    } catch {
      // The kernel refuses it: libbpf says why, and finds what can be left out.
      await object.close();
    }
  }
  const loaded = await loadFile(spec, prepare);
  // What the kernel has refused may be the image's fault: it is made anew.
  loaded.keepImage(object ? null : image);
  return loaded;
}

async function loadFile(spec: ObjectSpec, prepare: (object: KernelObject) => void): Promise<BpfObject> {
  const attempt = async ({ missing, refused }: Without): Promise<Attempt> => {
    const object = await BpfObject.open(spec, { missing, refused });
    try {
      prepare(object);
      await object.load();
      return { object };
    } catch (error) {
      await object.close();
      return { error, refused: object.refused };
    }
  };
  const optional = Object.keys(spec.optional ?? {});
  let without: Without = { missing: [], refused: [] };
  for (;;) {
    const result = await attempt(without);
    if ('object' in result) return result.object;
    const { error, refused } = result;
    const left = optional.filter((program) => !isWithout(without, program));
    const more =
      refused && left.includes(refused.program)
        ? { missing: [], refused: [refused] }
        : lacksHook(error, refused)
          ? await failing(left, without, attempt)
          : null;
    if (!more || more.missing.length + more.refused.length === 0) throw error;
    without = { missing: [...without.missing, ...more.missing], refused: [...without.refused, ...more.refused] };
  }
}

/**
 * Which of these programs cannot be loaded, each tried alone: what fails before the verifier does not say its name. None where the object
 * does not load without them either.
 */
async function failing(
  programs: readonly string[],
  without: Without,
  attempt: (without: Without) => Promise<Attempt>,
): Promise<Without> {
  const missing: string[] = [];
  const refusals: RefusedProgram[] = [];
  const loads = async (kept: readonly string[]): Promise<Attempt> => {
    const result = await attempt({
      ...without,
      missing: [...without.missing, ...programs.filter((program) => !kept.includes(program))],
    });
    if ('object' in result) await result.object.close();
    return result;
  };
  if ('error' in (await loads([]))) return { missing, refused: refusals };
  for (const program of programs) {
    const result = await loads([program]);
    if ('object' in result) continue;
    if (result.refused) refusals.push(result.refused);
    else if (lacksHook(result.error, null)) missing.push(program);
    else throw result.error;
  }
  return { missing, refused: refusals };
}

function isWithout({ missing, refused }: Without, program: string): boolean {
  return missing.includes(program) || refused.some((one) => one.program === program);
}

/** Where the verifier has said nothing, and there is no other reason, like a lack of memory. */
function lacksHook(error: unknown, refused: RefusedProgram | null): boolean {
  return error instanceof KernelError && !refused && LACKING.has(error.errno);
}
