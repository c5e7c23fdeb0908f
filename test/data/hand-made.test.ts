// Files made by hand: which key answers at which offset, and which copy gives its bytes.

import {
  DataReader,
  FaultyDevice,
  type FileFinding,
  type FileSegment,
  fileChunks,
  fileSegments,
  type Key,
  MemoryDevice,
  readFile,
} from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { SnapshotTable } from '../../packages/core/src/snapshots/snapshot-table.ts';
import {
  bucketOf,
  crc32,
  deviceWith,
  extentKey,
  handMade,
  POISONED,
  pattern,
  ptr,
  words,
} from '../support/hand-made-data.ts';
import { testKey } from '../support/nodes.ts';

const U32_MAX = 0xffff_ffff;
const node = (id: number, parent: number, children: readonly number[] = []) => ({
  id,
  parent,
  children,
  subvolume: 0,
  tree: 1,
  state: 'live' as const,
});
/** A root with two leaves. */
const TABLE = new SnapshotTable([node(U32_MAX, 0, [10, 20]), node(10, U32_MAX), node(20, U32_MAX)]);
const FILE = { inum: 4096n, snapshot: U32_MAX, sizeBytes: 64 * 512 };

const brief = (segments: Iterable<FileSegment>) =>
  [...segments].map(segment => {
    const keyOffset = 'keyOffset' in segment ? ` from ${segment.keyOffset / 512}` : '';
    const error = 'error' in segment && !('kind' in segment.error) ? ` ${segment.error.error}` : '';
    return `${segment.kind} ${segment.offset / 512}+${segment.length / 512}${keyOffset}${error}`;
  });

function segmentsOf(
  extents: readonly Key[],
  options: { snapshot?: number; sizeBytes?: number; reflink?: readonly Key[]; from?: number; to?: number } = {},
) {
  const { reflink = [], from, to, ...file } = options;
  const source = handMade({ extents, reflink }, []);
  return brief(fileSegments(source, TABLE, { ...FILE, ...file }, { from, to }));
}

const at = (end: number, size: number, snapshot = U32_MAX) => extentKey(end, size, [ptr({ sector: 512 })], snapshot);
const reflinkP = (end: number, size: number, idx: number, pads: readonly [number, number] = [0, 0]) =>
  testKey(
    'reflink_p',
    [4096, end, U32_MAX],
    words(BigInt(idx) | (1n << 57n), BigInt(pads[0]) | (BigInt(pads[1]) << 32n)),
    size,
  );
const reflinkV = (end: number, size: number) =>
  testKey('reflink_v', [0, end, 0], words(1n, ptr({ sector: 512 })), size);

describe('segments', () => {
  test('data, holes between, and the end', () => {
    expect(segmentsOf([at(16, 8), at(40, 8)])).toEqual([
      'hole 0+8',
      'data 8+8 from 0',
      'hole 16+16',
      'data 32+8 from 0',
      'hole 40+24',
    ]);
    expect(segmentsOf([])).toEqual(['hole 0+64']);
  });

  test('a part of a file, and what is past its size', () => {
    expect(segmentsOf([at(16, 16), at(40, 24)], { from: 10 * 512, to: 20 * 512 })).toEqual([
      'data 10+6 from 10',
      'data 16+4 from 0',
    ]);
    expect(segmentsOf([at(16, 16), at(90, 74)], { sizeBytes: 16 * 512 + 256 })).toEqual([
      'data 0+16 from 0',
      'data 16+0.5 from 0',
    ]);
  });

  test('a snapshot that overwrote the middle of its ancestor’s extent reads its own there, and the ancestor’s after it', () => {
    const keys = [at(16, 8, 10), at(32, 32)];
    expect(segmentsOf(keys, { snapshot: 10, sizeBytes: 32 * 512 })).toEqual([
      'hole 0+8',
      'data 8+8 from 0',
      'data 16+16 from 16',
    ]);
    expect(segmentsOf(keys, { snapshot: 20, sizeBytes: 32 * 512 })).toEqual(['data 0+32 from 0']);
  });

  test('overlaps lose their front', () => {
    expect(segmentsOf([at(16, 16), at(24, 20)], { sizeBytes: 24 * 512 })).toEqual([
      'data 0+16 from 0',
      'data 16+8 from 12',
    ]);
  });

  test('a whiteout hides what stands at its very position, in its snapshot', () => {
    const keys = [testKey('whiteout', [4096, 16, 10], new Uint8Array(0), 16), at(16, 16), at(32, 16)];
    expect(segmentsOf(keys, { snapshot: 10, sizeBytes: 32 * 512 })).toEqual(['hole 0+16', 'data 16+16 from 0']);
    expect(segmentsOf(keys, { snapshot: 20, sizeBytes: 32 * 512 })).toEqual(['data 0+16 from 0', 'data 16+16 from 0']);
  });

  test('what is not written, promised, inline and lost', () => {
    const keys = [
      extentKey(8, 8, [ptr({ sector: 512, unwritten: true })]),
      testKey('reservation', [4096, 16, U32_MAX], words(1n << 32n), 8),
      testKey('inline_data', [4096, 24, U32_MAX], words(1n), 8),
      testKey('error', [4096, 32, U32_MAX], new Uint8Array(0), 8),
    ];
    expect(segmentsOf(keys, { sizeBytes: 32 * 512 })).toEqual([
      'unwritten 0+8',
      'reserved 8+8',
      'inline 16+8 from 0',
      'lost 24+8 key_type_error',
    ]);
  });

  test('a reflink_p over several indirect extents; pads do not count', () => {
    const reflink = [reflinkV(108, 8), reflinkV(116, 8), reflinkV(130, 10)];
    expect(segmentsOf([reflinkP(24, 24, 104, [4, 2])], { reflink, sizeBytes: 24 * 512 })).toEqual([
      'data 0+4 from 4',
      'data 4+8 from 0',
      'lost 12+4 reflink_p_to_missing_reflink_v',
      'data 16+8 from 0',
    ]);
    expect(segmentsOf([reflinkP(8, 8, 500)], { reflink, sizeBytes: 4096 })).toEqual([
      'lost 0+8 reflink_p_to_missing_reflink_v',
    ]);
  });

  test('an index that no number holds is missing, not an assertion', () => {
    const key = testKey('reflink_p', [4096, 8, U32_MAX], words((1n << 56n) - 1n, 0n), 8);
    expect(segmentsOf([key], { sizeBytes: 4096 })).toEqual(['lost 0+8 reflink_p_to_missing_reflink_v']);
  });
});

describe('copies', () => {
  const good = pattern(16, 1);
  const bad = pattern(16, 2);
  const file = { inum: 4096n, snapshot: U32_MAX, sizeBytes: good.length };

  function read(
    entries: readonly bigint[],
    devices: Parameters<typeof handMade>[1],
    more: { alloc?: readonly Key[]; ignoreErrors?: boolean; from?: number } = {},
  ) {
    const { alloc = [], ignoreErrors, from = 0 } = more;
    const source = handMade({ extents: [extentKey(16, 16, entries)], alloc }, devices);
    const findings: FileFinding[] = [];
    const bytes = new Uint8Array(good.length - from);
    readFile(new DataReader(source), TABLE, file, from, bytes, {
      onFinding: finding => findings.push(finding),
      ignoreErrors,
    });
    return {
      bytes,
      findings: findings.map(
        ({ kind, damage, offset, length }) =>
          `${kind} ${offset}+${length} ${'kind' in damage ? damage.kind : damage.error}`,
      ),
    };
  }

  const both = [crc32(good), ptr({ dev: 0, sector: 512 }), ptr({ dev: 1, sector: 1024 })];

  test('the first that is good is given; what failed before is reported', () => {
    const [a, b, bad0] = [deviceWith([[512, good]]), deviceWith([[1024, good]]), deviceWith([[512, bad]])];
    expect(read(both, [a, b])).toEqual({ bytes: good, findings: [] });
    expect(read(both, [bad0, b])).toEqual({ bytes: good, findings: ['healed 0+8192 data_read_csum_err'] });
    // A part is verified with the whole.
    expect(read(both, [bad0, b], { from: 700 })).toEqual({
      bytes: good.subarray(700),
      findings: ['healed 700+7492 data_read_csum_err'],
    });
    // A member that is not there is no news.
    expect(read(both, [undefined, b])).toEqual({ bytes: good, findings: [] });
    const faulty = new FaultyDevice(a, [{ kind: 'read-error', offset: 512 * 512, length: 512 }]);
    expect(read(both, [faulty, b])).toEqual({ bytes: good, findings: ['healed 0+8192 io'] });
  });

  test('none is good: lost, or as it is', () => {
    const devices = [deviceWith([[512, bad]]), undefined];
    expect(read(both, devices)).toEqual({
      bytes: new Uint8Array(good.length),
      findings: ['lost 0+8192 data_read_csum_err'],
    });
    expect(read(both, devices, { ignoreErrors: true })).toEqual({
      bytes: bad,
      findings: ['suspect 0+8192 data_read_csum_err'],
    });
    expect(read(both, [undefined, undefined], { ignoreErrors: true }).findings).toEqual(['lost 0+8192 missing']);
    const source = handMade({ extents: [extentKey(16, 16, both)] }, [undefined, undefined]);
    expect(() => readFile(new DataReader(source), TABLE, file, 0, new Uint8Array(10))).toThrow(/member 0.*member 1/);
  });

  test('beyond the device', () => {
    const far = [crc32(good), ptr({ dev: 0, sector: 2 ** 40 })];
    expect(read(far, [deviceWith([])]).findings).toEqual(['lost 0+8192 out-of-range']);
  });

  test('poisoned extents', () => {
    const entries = [POISONED, ...both];
    const devices = [deviceWith([[512, bad]]), deviceWith([[1024, bad]])];
    expect(read(entries, devices).findings).toEqual(['lost 0+8192 extent_poisoned']);
    expect(read(entries, devices, { ignoreErrors: true })).toEqual({
      bytes: bad,
      findings: ['suspect 0+8192 extent_poisoned'],
    });
  });

  // The bucket of sector 512 of member 0 is of generation 5. A v1 alloc key: no fields, the generation.
  const alloc = [testKey('alloc', [0, bucketOf(512)], Uint8Array.of(0, 5, 0, 0, 0, 0, 0, 0))];

  test('stale pointers: cached ones are not looked at, others only with a checksum', () => {
    const device = deviceWith([[512, good]]);
    const cached = ptr({ sector: 512, gen: 4, cached: true });
    expect(read([crc32(good), cached], [device], { alloc })).toEqual({
      bytes: new Uint8Array(good.length),
      findings: [],
    });
    expect(read([crc32(good), ptr({ sector: 512, gen: 5, cached: true })], [device], { alloc }).bytes).toEqual(good);
    expect(
      read([crc32(good), cached, ptr({ dev: 1, sector: 512 })], [device, deviceWith([[512, bad]])], { alloc }).findings,
    ).toEqual(['lost 0+8192 data_read_csum_err']);
    expect(read([crc32(good), ptr({ sector: 512, gen: 4 })], [device], { alloc })).toEqual({
      bytes: good,
      findings: [],
    });
    expect(read([ptr({ sector: 512, gen: 4 })], [device], { alloc }).findings).toEqual([
      'lost 0+8192 data_read_ptr_stale_dirty',
    ]);
    expect(read([ptr({ sector: 512, gen: 5 })], [device], { alloc }).bytes).toEqual(good);
  });

  test('each checksum entry is for the pointers after it', () => {
    const whole = pattern(32, 1);
    const entries = [
      crc32(bad),
      ptr({ dev: 1, sector: 512 }),
      crc32(whole, { offset: 8 }),
      ptr({ dev: 0, sector: 512 }),
    ];
    const expected = whole.subarray(8 * 512, 24 * 512);
    expect(read(entries, [deviceWith([[512, whole]]), undefined]).bytes).toEqual(expected);
    // The one of which less has to be read comes first.
    expect(read(entries, [deviceWith([[512, whole]]), deviceWith([[512, bad]])]).bytes).toEqual(bad);
  });

  test('sizes that contradict each other are reported, not read', () => {
    expect(read([crc32(good, { offset: 8 }), ptr({ sector: 512 })], [deviceWith([[512, good]])]).findings).toEqual([
      'lost 0+8192 ptr_crc_uncompressed_size_too_small',
    ]);
  });

  test('chunks go on after what is lost, in order and without gaps', () => {
    const keys = [at(8, 8), testKey('error', [4096, 16, U32_MAX], new Uint8Array(0), 8), at(40, 8), at(64, 24)];
    const source = handMade({ extents: keys }, [MemoryDevice.from(new Uint8Array(2 ** 20).fill(7))]);
    const chunks = [...fileChunks(new DataReader(source), TABLE, FILE, { onFinding() {}, chunkBytes: 16 * 512 })];
    expect(chunks.map(({ kind, offset, length }) => `${kind} ${offset / 512}+${length / 512}`)).toEqual([
      'data 0+8',
      'lost 8+8',
      'hole 16+16',
      'data 32+8',
      'data 40+16',
      'data 56+8',
    ]);
  });
});
