import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EunomiaError } from '../base/errors.js';
import { parseBpfFile } from './btf.js';
import { objectFile, objectPath } from '../../test/support/record.js';

const bytes = readFileSync(objectPath('open'));
const parse = (data: Uint8Array) => parseBpfFile(data, 'x.bpf.o');

/** The ELF section headers: where each is, and its name's, offset and size. */
function sections(elf: Buffer) {
  const at = Number(elf.readBigUInt64LE(0x28));
  const names = elf.readUInt16LE(0x3e);
  const header = (i: number) => at + i * elf.readUInt16LE(0x3a);
  const strings = Number(elf.readBigUInt64LE(header(names) + 0x18));
  return Array.from({ length: elf.readUInt16LE(0x3c) }, (_, i) => {
    const nameAt = strings + elf.readUInt32LE(header(i));
    return {
      nameAt,
      name: elf.toString('latin1', nameAt, elf.indexOf(0, nameAt)),
      header: header(i),
      offset: Number(elf.readBigUInt64LE(header(i) + 0x18)),
      size: Number(elf.readBigUInt64LE(header(i) + 0x20)),
    };
  });
}

function section(name: string) {
  const found = sections(bytes).find((s) => s.name === name);
  if (!found) throw new Error(`no section ${name}`);
  return found;
}

/** Those of the tracker itself: every object also has the programs that follow processes. */
function ownSections(name: string): string[] {
  return [...objectFile(name).programs]
    .flatMap(([program, section]) => (program.startsWith('follow_') ? [] : [section]))
    .sort();
}

describe('reading a BPF object', () => {
  it('finds the programs of each object by their sections', () => {
    expect(ownSections('open')).toContain('tp_btf/sys_exit');
    expect(ownSections('open')).toContain('tp_btf/io_uring_complete');
    expect(ownSections('exec')).toEqual(['tp_btf/sched_process_exec', 'tp_btf/sys_exit']);
    expect(ownSections('exit')).toEqual(['tp_btf/sched_process_exit']);
    for (const section of ['tp_btf/inet_sock_set_state', 'tp_btf/sys_exit', 'tp_btf/tcp_destroy_sock'])
      expect(ownSections('tcp')).toContain(section);
    expect(objectFile('session').programs.size).toBe(0);
    expect(objectFile('exit').programs.get('follow_fork')).toBe('tp_btf/sched_process_fork');
  });

  it('finds constants and the control area with their sections and sizes', () => {
    const { variables } = objectFile('open');
    expect(variables.get('eu_tracker')).toMatchObject({ section: '.rodata', size: 2 });
    for (const name of ['eu_by_pid', 'eu_by_uid', 'eu_by_comm', 'eu_by_cgroup', 'failed_only', 'writes_only'])
      expect(variables.get(name)).toMatchObject({ section: '.rodata', size: 1 });
    expect(variables.get('eu_control')).toEqual({ section: '.data.eu_control', offset: 0, size: 64 + 512 * 64 });
    expect(objectFile('tcp').variables.get('operations')).toMatchObject({ section: '.rodata', size: 4 });
    const used = [...variables.values()]
      .filter((v) => v.section === '.rodata')
      .flatMap(({ offset, size }) => Array.from({ length: size }, (_, i) => offset + i));
    expect(new Set(used).size).toBe(used.length);
  });

  it('reads structs, enums, arrays and typedefs as they stand in C', () => {
    const { types } = objectFile('tcp');
    const named = (name: string) => types.find((t) => t.name === name);
    const header = named('eu_header');
    expect(header).toMatchObject({ kind: 'struct', size: 72 });
    expect(header?.members.map(({ name, bitOffset }) => [name, bitOffset / 8])).toEqual([
      ['boot_ns', 0],
      ['cgroup_id', 8],
      ['start_boot_ns', 16],
      ['pid', 24],
      ['tid', 28],
      ['ppid', 32],
      ['uid', 36],
      ['gid', 40],
      ['mount_ns', 44],
      ['tracker', 48],
      ['init_start', 50],
      ['init_pid', 52],
      ['comm', 56],
    ]);
    expect(named('tcp_operation')).toMatchObject({
      kind: 'enum',
      values: [
        { name: 'TCP_OPERATION_CONNECT', value: 1 },
        { name: 'TCP_OPERATION_ACCEPT', value: 2 },
        { name: 'TCP_OPERATION_CLOSE', value: 3 },
        { name: 'TCP_OPERATION_CONNECT_FAILED', value: 4 },
      ],
    });
    const comm = types[header?.members.at(-1)?.type ?? 0];
    expect(comm).toMatchObject({ kind: 'array', elements: 16 });
    expect(types[comm?.type ?? 0]).toMatchObject({ kind: 'int', size: 1 });
    const exec = objectFile('exec').types;
    expect(exec.find((t) => t.name === 'eu_str')).toMatchObject({ kind: 'typedef' });
    expect(exec.find((t) => t.name === '_Bool')).toMatchObject({ kind: 'int', bool: true, size: 1 });
    for (const type of types) expect(types[type.type]).toBeDefined();
  });

  it('reads an object wherever it lies in a buffer', () => {
    const shifted = new Uint8Array(bytes.length + 13);
    shifted.set(bytes, 13);
    expect(parse(shifted.subarray(13))).toEqual(parse(bytes));
  });
});

describe('a file that is no whole BPF object', () => {
  it('is refused with what is wrong and what mends it', () => {
    const ofText = 'x.bpf.o is not a BPF object: no 64-bit little-endian ELF header; build it again with npm run build';
    for (const data of [
      new Uint8Array(0),
      Buffer.from('#!/bin/sh\n'.padEnd(100)),
      Buffer.alloc(64),
      bytes.subarray(0, 63),
    ])
      expect(() => parse(data)).toThrow(ofText);
    const elf32 = Buffer.from(bytes);
    elf32[4] = 1;
    const bigEndian = Buffer.from(bytes);
    bigEndian[5] = 2;
    for (const data of [elf32, bigEndian]) expect(() => parse(data)).toThrow(ofText);
  });

  it('without BTF says that clang needs -g', () => {
    const stripped = Buffer.from(bytes);
    stripped.write('.XYZ', section('.BTF').nameAt, 'latin1');
    expect(() => parse(stripped)).toThrow(
      'x.bpf.o is not a BPF object: it has no BTF (clang needs -g); build it again with npm run build',
    );
  });

  it('is called cut short wherever it was cut before its section table', () => {
    // The section table is the last part of what clang writes.
    fc.assert(
      fc.property(fc.integer({ min: 64, max: bytes.length - 64 }), (length) => {
        expect(() => parse(bytes.subarray(0, length))).toThrow(
          'x.bpf.o is not a BPF object: it is cut short; build it again with npm run build',
        );
      }),
    );
  });

  it('with a BTF that ends too soon, or has an unknown kind, is refused', () => {
    const { header, offset } = section('.BTF');
    const short = Buffer.from(bytes);
    short.writeBigUInt64LE(40n, header + 0x20);
    expect(() => parse(short)).toThrow(expect.objectContaining({ code: 'BAD_OBJECT' }) as Error);
    const unknown = Buffer.from(bytes);
    unknown.writeUInt32LE(31 << 24, offset + unknown.readUInt32LE(offset + 4) + 4);
    expect(() => parse(unknown)).toThrow(expect.objectContaining({ code: 'BAD_OBJECT' }) as Error);
  });

  it('with any bytes changed is read or refused, but breaks nothing', () => {
    const { offset, size } = section('.BTF');
    const anywhere = fc.oneof(
      fc.integer({ min: 0, max: 63 }),
      fc.integer({ min: offset, max: offset + size - 1 }),
      fc.integer({ min: bytes.length - 1600, max: bytes.length - 1 }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(anywhere, fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 }),
        (changes) => {
          const changed = Buffer.from(bytes);
          for (const [at, value] of changes) changed[at] = value;
          try {
            parse(changed);
          } catch (error) {
            expect(error).toBeInstanceOf(EunomiaError);
            expect((error as EunomiaError).code).toBe('BAD_OBJECT');
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
