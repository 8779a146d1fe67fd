/** Of the encodings of a pointer (DW_EH_PE_…, Linux Standard Base, "DWARF Extensions"). */
const PE_OMIT = 0xff;
const PE_INDIRECT = 0x80;
const RELATIVE_TO_PLACE = 0x10;
const RELATIVE_TO_DATA = 0x30;

/**
 * Reads DWARF data from the start of `bytes` on, each value behind the one before. Throws RangeError past the end, and for what no
 * compiler writes: the bytes are of files that anybody may have written.
 */
export class Reader {
  readonly #view: DataView;
  /** The address of the first byte. */
  readonly #address: number;
  at = 0;

  constructor(bytes: Uint8Array, address = 0) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#address = address;
  }

  get left(): number {
    return this.#view.byteLength - this.at;
  }

  get address(): number {
    return this.#address + this.at;
  }

  skip(bytes: number): void {
    if (!(bytes >= 0 && bytes <= this.left)) throw new RangeError('the data ends');
    this.at += bytes;
  }

  u8(): number {
    return this.#view.getUint8(this.at++);
  }

  s8(): number {
    return this.#view.getInt8(this.at++);
  }

  u16(): number {
    this.at += 2;
    return this.#view.getUint16(this.at - 2, true);
  }

  s16(): number {
    this.at += 2;
    return this.#view.getInt16(this.at - 2, true);
  }

  u32(): number {
    this.at += 4;
    return this.#view.getUint32(this.at - 4, true);
  }

  s32(): number {
    this.at += 4;
    return this.#view.getInt32(this.at - 4, true);
  }

  /** As a double: what is beyond 2^53 is not exact, and no address. */
  u64(): number {
    return wordAt(this.#view, (this.at += 8) - 8);
  }

  s64(): number {
    this.at += 8;
    return this.#view.getInt32(this.at - 4, true) * 4294967296 + this.#view.getUint32(this.at - 8, true);
  }

  uleb(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 70; scale *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RangeError('a number has more than ten bytes');
  }

  sleb(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 70; scale *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return byte & 0x40 ? value - scale * 128 : value;
    }
    throw new RangeError('a number has more than ten bytes');
  }

  /** Text up to a NUL. */
  text(most: number): string {
    let text = '';
    for (let byte = this.u8(); byte !== 0; byte = this.u8()) {
      if (text.length >= most) throw new RangeError('a text is too long');
      text += String.fromCharCode(byte);
    }
    return text;
  }

  block(length: number): Uint8Array {
    const from = this.at;
    this.skip(length);
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + from, length);
  }

  /** A pointer in one of .eh_frame's encodings; null for none. `data`: what DW_EH_PE_datarel is relative to. */
  pointer(encoding: number, data = Number.NaN): number | null {
    if (encoding === PE_OMIT) return null;
    if (encoding & PE_INDIRECT) throw new RangeError('a pointer is elsewhere');
    const place = this.address;
    const value = this.#encoded(encoding & 0x0f);
    switch (encoding & 0x70) {
      case 0:
        return value;
      case RELATIVE_TO_PLACE:
        return value + place;
      case RELATIVE_TO_DATA:
        return value + data;
      default:
        throw new RangeError('a pointer has an encoding that is not known');
    }
  }

  #encoded(format: number): number {
    switch (format) {
      case 0x00: // DW_EH_PE_absptr
      case 0x04:
        return this.u64();
      case 0x01:
        return this.uleb();
      case 0x02:
        return this.u16();
      case 0x03:
        return this.u32();
      case 0x09:
        return this.sleb();
      case 0x0a:
        return this.s16();
      case 0x0b:
        return this.s32();
      case 0x0c:
        return this.s64();
      default:
        throw new RangeError('a pointer has a format that is not known');
    }
  }
}

/** 64 bits as a double. */
export function wordAt(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 4294967296 + view.getUint32(at, true);
}
