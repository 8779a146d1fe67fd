/** A file of an archive. */
export interface ArchiveFile {
  readonly path: string;
  readonly mode: number;
  readonly uid?: number;
  readonly content: Buffer;
}

const BLOCK = 512;

/** A tar archive (POSIX ustar) of a few small files with short names, as engines import it. */
export function archiveOf(files: readonly ArchiveFile[]): Buffer {
  const parts = files.flatMap(({ path, mode, uid = 0, content }) => [
    header(path, mode, uid, content.length),
    content,
    Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK),
  ]);
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

function header(path: string, mode: number, uid: number, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number): void =>
    void block.write(value.toString(8).padStart(length - 1, '0'), offset);
  block.write(path, 0, 100);
  octal(mode, 100, 8);
  octal(uid, 108, 8);
  octal(uid, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  block.write('        0', 148); // the checksum counts as spaces; a regular file
  block.write('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}
