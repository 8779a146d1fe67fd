import type { Modules } from './modules.js';
import type { Whereabouts } from './place.js';
import { unwind, type CapturedStack, type Cut, type Frame } from './unwind.js';

const hex = (value: number): string => `0x${value.toString(16)}`;

/** A captured stack as texts, a frame each, the innermost first; the last one says why there are no more, where they are not all. */
export function describeStack(captured: CapturedStack, where: Whereabouts, modules: Modules): string[] {
  const files = modules.of(where);
  try {
    const { frames, cut } = unwind(captured, (mapping, offset) => files.of(mapping)?.rowAt(offset) ?? null);
    const texts = frames.map((frame) => frameText(frame, (at) => files.of(at.mapping)?.nameAt(at.offset) ?? null));
    const isUnreadable = cut?.is === 'UNKNOWN' && cut.mapping?.path != null && !files.of(cut.mapping);
    return cut ? [...texts, cutText(cut, isUnreadable)] : texts;
  } finally {
    files.close();
  }
}

type NameOf = (at: {
  readonly mapping: NonNullable<Frame['mapping']>;
  readonly offset: number;
}) => { readonly name: string; readonly offset: number } | null;

/** "function+0x1a (/lib/libc.so.6+0x10e5a7)": offsets in bytes, in the function and in the file. "? " before it: it may be no caller. */
function frameText(frame: Frame, nameOf: NameOf): string {
  return frame.isGuessed ? `? ${placeText(frame, nameOf)}` : placeText(frame, nameOf);
}

function placeText({ address, isExact, mapping }: Frame, nameOf: NameOf): string {
  if (!mapping) return `(${hex(address)})`;
  const back = isExact ? 0 : 1;
  const offset = address - mapping.start + mapping.offset;
  if (mapping.path === null) return `(anonymous ${hex(address)})`;
  const name = nameOf({ mapping, offset: offset - back });
  const place = `(${mapping.path}+${hex(offset)})`;
  return name ? `${name.name}+${hex(name.offset + back)} ${place}` : place;
}

function cutText(cut: Cut, isUnreadable: boolean): string {
  switch (cut.is) {
    case 'MEMORY':
      return '(cut: the frames above are not in the copy of the stack)';
    case 'DEPTH':
      return '(cut: there are more frames)';
    case 'DAMAGED':
      return '(cut: the stack is not as the code says)';
    case 'UNKNOWN':
      if (!cut.mapping) return '(cut: the address is in no code that is known)';
      if (cut.mapping.path === null) return '(cut: nothing tells how this code was called)';
      return isUnreadable
        ? `(cut: ${cut.mapping.path} cannot be read)`
        : `(cut: ${cut.mapping.path} does not say how this code was called)`;
  }
}
