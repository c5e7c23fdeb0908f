import { deflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import { uuidBytes, viewOf } from '../ondisk/layout.ts';
import { BCHFS_MAGIC, BchSb } from '../ondisk/superblock.ts';
import { readBytes } from './block-device.ts';
import { MemoryDevice } from './memory-device.ts';
import { QCOW2 } from './qcow2.ts';
import { Qcow2Device, throughQcow2 } from './qcow2-device.ts';
import { Qcow2Writer } from './qcow2-writer.ts';

const KIB = 1024;
const MIB = 2 ** 20;
const CLUSTER = 64 * KIB;

/** Contents by their places on the disk. */
type Pieces = readonly (readonly [offset: number, bytes: Uint8Array])[];

class Collector {
  readonly chunks: [number, Uint8Array][] = [];
  write(offset: number, from: Uint8Array): void {
    this.chunks.push([offset, from.slice()]);
  }
  toDevice(sizeBytes: number): MemoryDevice {
    const device = new MemoryDevice(sizeBytes, { name: 'x.qcow2' });
    for (const [offset, bytes] of this.chunks) device.write(offset, bytes);
    return device;
  }
}

function written(sizeBytes: number, pieces: Pieces): MemoryDevice {
  const out = new Collector();
  const writer = new Qcow2Writer(out, sizeBytes);
  for (const [offset, bytes] of pieces) writer.write(offset, bytes);
  return out.toDevice(writer.finish());
}

const filled = (length: number, value: number) => new Uint8Array(length).fill(value);

describe('what is written is read', () => {
  test('pieces in one cluster, over its end, over the end of a table, and at the end of the disk', () => {
    const sizeBytes = 8 * 2 ** 40 + 512;
    const pieces: Pieces = [
      [3584, filled(512, 1)],
      [4096, filled(1000, 2)],
      [CLUSTER - 100, filled(200, 3)],
      [512 * MIB - 7, filled(14, 4)],
      [5 * 2 ** 40 + 1, filled(3 * CLUSTER, 5)],
      [sizeBytes - 512, filled(512, 6)],
    ];
    const file = written(sizeBytes, pieces);
    expect(file.sizeBytes).toBeLessThan(2 * MIB);
    const device = new Qcow2Device(file);
    expect(device.sizeBytes).toBe(sizeBytes);
    for (const [offset, bytes] of pieces) expect(readBytes(device, offset, bytes.length)).toEqual(bytes);
    expect(readBytes(device, 0, 3584)).toEqual(filled(3584, 0));
    expect(readBytes(device, 5 * 2 ** 40 + 1 + 3 * CLUSTER, 100)).toEqual(filled(100, 0));
    expect(readBytes(device, 2 ** 40, 100)).toEqual(filled(100, 0));
    const found = [...device.allocated()];
    expect(found.map(({ offset }) => offset)).toEqual([
      0,
      CLUSTER,
      512 * MIB - CLUSTER,
      512 * MIB,
      5 * 2 ** 40,
      5 * 2 ** 40 + CLUSTER,
      5 * 2 ** 40 + 2 * CLUSTER,
      5 * 2 ** 40 + 3 * CLUSTER,
      sizeBytes - 512,
    ]);
    expect(found.at(-1)?.length).toBe(512);
  });

  test('random pieces, some over others: what came first stays', () => {
    const random = randomFrom(testSeed());
    const number = random.below;
    const sizeBytes = 4 * MIB + 1536;
    const disk = new Uint8Array(sizeBytes);
    const pieces: [number, Uint8Array][] = [];
    for (let i = 0; i < 60; i++) {
      const offset = number(sizeBytes - 1);
      const length = Math.min(sizeBytes - offset, number(200_000));
      pieces.push([offset, filled(length, number(256))]);
    }
    pieces.sort((a, b) => a[0] - b[0]);
    let end = 0;
    for (const [offset, bytes] of pieces) {
      for (let at = Math.max(end, offset); at < offset + bytes.length; at++) {
        disk[at] = bytes[0]!;
      }
      end = Math.max(end, offset + bytes.length);
    }
    const device = new Qcow2Device(written(sizeBytes, pieces));
    const found = readBytes(device, 0, sizeBytes);
    expect(
      found.every((byte, at) => byte === disk[at]),
      `TEST_SEED=${random.seed}`,
    ).toBe(true);
  });

  test('the same contents give the same file, and zeroes are left out', () => {
    const pieces: Pieces = [[CLUSTER, filled(CLUSTER, 7)]];
    const one = written(16 * MIB, pieces);
    const other = written(16 * MIB, [[0, filled(CLUSTER, 0)], ...pieces, [4 * MIB, filled(MIB, 0)]]);
    expect(readBytes(other, 0, other.sizeBytes)).toEqual(readBytes(one, 0, one.sizeBytes));
    // Header, contents, L2, L1, reference counts and their table.
    expect(one.sizeBytes).toBe(6 * CLUSTER);
  });

  test('an empty disk', () => {
    const device = new Qcow2Device(written(0, []));
    expect(device.sizeBytes).toBe(0);
    expect([...device.allocated()]).toEqual([]);
  });

  test('it is not written to', () => {
    const device = new Qcow2Device(written(MIB, []));
    expect(() => device.write(0, filled(1, 1))).toThrow(DeviceError);
  });
});

describe('which files are qcow2', () => {
  const member = () => {
    const device = new MemoryDevice(MIB);
    device.write(4096 + BchSb.offset.magic, uuidBytes(BCHFS_MAGIC));
    return device;
  };
  const magic = Uint8Array.of(0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 2);

  test('others are left as they are', () => {
    const device = member();
    expect(throughQcow2(device)).toBe(device);
    const tiny = new MemoryDevice(10);
    expect(throughQcow2(tiny)).toBe(tiny);
  });

  test('a member that begins with the magic by accident counts as it stands', () => {
    const device = member();
    device.write(0, magic);
    expect(throughQcow2(device)).toBe(device);
    device.write(0, readBytes(written(MIB, []), 0, 72));
    expect(throughQcow2(device)).toBe(device);
  });

  test('a qcow2 file with a member in it is that member', () => {
    const superblock = readBytes(member(), 4096, 2048);
    const file = written(MIB, [[4096, superblock]]);
    expect(throughQcow2(file)).toBeInstanceOf(Qcow2Device);
    // Even when the file has the superblock at the same place by accident.
    file.write(4096, superblock);
    expect(throughQcow2(file)).toBeInstanceOf(Qcow2Device);
  });

  test('a faulty qcow2 file is refused', () => {
    const device = new MemoryDevice(MIB);
    device.write(0, magic);
    expect(() => throughQcow2(device)).toThrow(CorruptError);
  });
});

/** A file with this changed in its header, or elsewhere. */
function changed(change: (view: DataView) => void, sizeBytes = 16 * MIB): MemoryDevice {
  const file = written(sizeBytes, [[CLUSTER, filled(CLUSTER, 7)]]);
  const bytes = readBytes(file, 0, file.sizeBytes);
  change(viewOf(bytes));
  file.write(0, bytes);
  return file;
}

const version3 = (view: DataView) => {
  view.setUint32(QCOW2.version, 3);
  view.setUint32(96, 4);
  view.setUint32(QCOW2.header_length, 112);
};

describe('hostile files', () => {
  test.each<readonly [string, string, (view: DataView) => void]>([
    ['qcow2_version', 'of version 1', view => view.setUint32(QCOW2.version, 1)],
    ['qcow2_encryption', 'encrypted (LUKS)', view => view.setUint32(QCOW2.crypt_method, 2)],
    [
      'qcow2_backing_file',
      'on top of another (base)',
      view => {
        view.setBigUint64(QCOW2.backing_file_offset, 200n);
        view.setUint32(QCOW2.backing_file_size, 4);
        for (const [i, letter] of [...'base'].entries()) view.setUint8(200 + i, letter.charCodeAt(0));
      },
    ],
    [
      'qcow2_feature',
      'external data file',
      view => {
        version3(view);
        view.setBigUint64(QCOW2.incompatible_features, 4n);
      },
    ],
    [
      'qcow2_feature',
      'extended L2 entries',
      view => {
        version3(view);
        view.setBigUint64(QCOW2.incompatible_features, 16n);
      },
    ],
    [
      'qcow2_feature',
      'number 63',
      view => {
        version3(view);
        view.setBigUint64(QCOW2.incompatible_features, 1n << 63n);
      },
    ],
    [
      'qcow2_compression',
      'zstd',
      view => {
        version3(view);
        view.setBigUint64(QCOW2.incompatible_features, 8n);
        view.setUint8(QCOW2.compression_type, 1);
      },
    ],
  ])('%s: %s is refused by name', (error, words, change) => {
    const open = () => new Qcow2Device(changed(change));
    expect(open).toThrow(IncompatibleError);
    expect(open).toThrow(expect.objectContaining({ error, detail: expect.stringContaining(words) }));
  });

  test.each<readonly [string, (view: DataView) => void]>([
    ['qcow2_cluster_bits', view => view.setUint32(QCOW2.cluster_bits, 8)],
    ['qcow2_cluster_bits', view => view.setUint32(QCOW2.cluster_bits, 0xffff_ffff)],
    ['qcow2_size', view => view.setBigUint64(QCOW2.size, 1n << 63n)],
    ['qcow2_l1_size', view => view.setBigUint64(QCOW2.size, 1n << 52n)],
    ['qcow2_l1_size', view => view.setUint32(QCOW2.l1_size, 0)],
    [
      'qcow2_l1_size',
      view => {
        view.setBigUint64(QCOW2.size, 1n << 52n);
        view.setUint32(QCOW2.l1_size, 0xffff_ffff);
      },
    ],
    ['qcow2_l1_offset', view => view.setBigUint64(QCOW2.l1_table_offset, 1n << 60n)],
    ['qcow2_l1_offset', view => view.setBigUint64(QCOW2.l1_table_offset, 8n)],
    [
      'qcow2_header_length',
      view => {
        version3(view);
        view.setUint32(QCOW2.header_length, 0xffff_fff8);
      },
    ],
  ])('%s', (error, change) => {
    expect(() => new Qcow2Device(changed(change))).toThrow(expect.objectContaining({ name: 'CorruptError', error }));
  });

  test('the features dirty and corrupt do not hinder reading', () => {
    const file = changed(view => {
      version3(view);
      view.setBigUint64(QCOW2.incompatible_features, 3n);
    });
    expect(readBytes(new Qcow2Device(file), CLUSTER, 4)).toEqual(filled(4, 7));
  });

  const l2At = 2 * CLUSTER;
  const l1At = 3 * CLUSTER;

  test.each<readonly [string, bigint]>([
    ['past the end', 1n << 50n],
    ['not at a cluster', BigInt(CLUSTER + 512)],
    ['compressed, past the end', (1n << 62n) | (1n << 50n)],
    ['compressed, not deflated', (1n << 62n) | BigInt(CLUSTER)],
  ])('an entry that is %s', (_, entry) => {
    const file = changed(view => view.setBigUint64(l2At + 8, entry));
    const device = new Qcow2Device(file);
    expect(() => readBytes(device, CLUSTER, 4)).toThrow(CorruptError);
    expect(readBytes(device, 0, 4)).toEqual(filled(4, 0));
  });

  test('tables that lead to themselves', () => {
    const file = changed(view => view.setBigUint64(l1At, BigInt(l1At)));
    const device = new Qcow2Device(file);
    expect(readBytes(device, 0, 8)).toEqual(readBytes(file, l1At, 8));
  });

  test('one cluster that is everywhere', () => {
    const file = changed(view => {
      for (let i = 0; i < 8192; i++) view.setBigUint64(l2At + 8 * i, BigInt(CLUSTER));
    }, 512 * MIB);
    const read = () => [...new Qcow2Device(file).allocated()];
    expect(read).toThrow(expect.objectContaining({ error: 'qcow2_shared_clusters' }));
  });

  test('one table that is everywhere', () => {
    const file = changed(
      view => {
        view.setBigUint64(l2At + 8, 0n);
        for (let i = 0; i < 64; i++) view.setBigUint64(l1At + 8 * i, BigInt(l2At));
      },
      64 * 512 * MIB,
    );
    const read = () => [...new Qcow2Device(file).allocated()];
    expect(read).toThrow(expect.objectContaining({ error: 'qcow2_shared_tables' }));
  });

  test('1,500 files with random changes: typed errors only, in bounded time', () => {
    const random = randomFrom(testSeed());
    const number = random.below;
    for (let i = 0; i < 1500; i++) {
      const file = changed(view => {
        if (i % 3 === 0) version3(view);
        for (let n = 0; n <= i % 4; n++) {
          const region = [
            [0, 120],
            [l1At, 16],
            [l2At, 64],
          ][number(3)]!;
          view.setUint8(region[0]! + number(region[1]!), number(256));
        }
      });
      try {
        const device = new Qcow2Device(file);
        for (const { offset, length } of device.allocated()) device.read(offset, new Uint8Array(length));
        device.read(0, new Uint8Array(Math.min(4096, device.sizeBytes)));
      } catch (thrown) {
        const isTyped =
          thrown instanceof CorruptError || thrown instanceof IncompatibleError || thrown instanceof DeviceError;
        if (!isTyped) throw new Error(`TEST_SEED=${random.seed}, file ${i}`, { cause: thrown });
      }
    }
  });
});

test('compressed clusters are unpacked', () => {
  const contents = Uint8Array.from({ length: CLUSTER }, (_, i) => (i * i) >>> 8);
  const packed = deflateRawSync(contents);
  const file = changed(view => {
    const sectors = Math.ceil(packed.length / 512);
    for (const [i, byte] of packed.entries()) view.setUint8(CLUSTER + i, byte);
    view.setBigUint64(2 * CLUSTER + 8, (1n << 62n) | (BigInt(sectors - 1) << 54n) | BigInt(CLUSTER));
  });
  const device = new Qcow2Device(file);
  expect(readBytes(device, CLUSTER, CLUSTER)).toEqual(contents);
  expect([...device.allocated()]).toEqual([{ offset: CLUSTER, length: CLUSTER }]);
});
