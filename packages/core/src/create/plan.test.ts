import { describe, expect, test } from 'vitest';
import { UsageError } from '../ondisk/errors.ts';
import { diskGroups } from '../ondisk/sb-fields/disk-groups.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import { encodeSuperblock } from '../ondisk/superblock.ts';
import { superblockProblems } from '../superblock/verify.ts';
import { seededRandom } from '../util/random.ts';
import { type DeviceRequest, type FormatRequest, planFormat } from './plan.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

function device(changes: Partial<DeviceRequest> = {}): DeviceRequest {
  return {
    name: 'disk.img',
    sizeBytes: GIB,
    physicalSectorBytes: 0,
    logicalSectorBytes: 512,
    durability: 1,
    discard: true,
    dataAllowed: 0b11100,
    ...changes,
  };
}

function request(changes: Partial<FormatRequest> = {}): FormatRequest {
  return {
    devices: [device()],
    options: new Map(),
    targets: {},
    version: 1037,
    now: 1_700_000_000_000_000_000n,
    random: seededRandom('test'),
    ...changes,
  };
}

const plannedError = (changes: Partial<FormatRequest>): string => {
  try {
    planFormat(request(changes));
  } catch (thrown) {
    if (thrown instanceof UsageError) return thrown.message;
    throw thrown;
  }
  return 'no error';
};

/**
 * The superblock that `bcachefs format --no_initialize` of v1.13.0 made on an image of 64 MiB, in 32-byte lines; zero lines left
 * out. UUIDs, times and the checksum (it has none) are dots. source: reference
 */
const referenceLines = `
  0 00000000000000000000000000000000 0d040d0400000000c68573f666ce90a9
 32 d96a60cf803df7ef................ ................................
 64 ................0000000000000000 00000000000000000000000000000000
 96 00000000000000000800000000000000 0000000000000000080000011c000000
128 ................0000000001000000 000110800011118102c1110100000000
160 000000000000000000000030fa000000 640000000100000000001e0000000000
192 0000000000000000................ 80ba0700000000000000000000000000
224 00000000000000000000000000000000 c68573f666ce90a9d96a60cf803df7ef
256 000b0300000000000800000000000000 080800000000000000f8010000000000
736 00000000000000000000000000000000 140000000b0000009000000000000000
768 ................................ 00020000000000000000000100000000
800 000000000000000000000e2000000000 00000000000000000000000000000000
896 00000000000000000000000000000000 0800000001000000................
928 ................0002000000000000 00000001000000000000000000000000
960 00000e20000000000000000000000000`;

describe('planFormat', () => {
  test('lays out what the reference does with the same sizes and defaults, byte for byte', () => {
    const plan = planFormat(
      request({
        devices: [device({ sizeBytes: 64 * MIB, bucketBytes: 128 * KIB, discard: false })],
        options: new Map([
          ['block_size', 4096],
          ['encoded_extent_max', 64 * KIB],
          ['inodes_32bit', 1],
        ]),
        superblockBytes: MIB,
      }),
    );
    const bytes = encodeSuperblock({ ...plan.superblocks[0]!, offset: 8n });
    expect(bytes.length).toBe(976);

    const expected = new Map(
      referenceLines
        .trim()
        .split('\n')
        .map(line => line.trim().split(/ +/))
        .map(([at, ...hex]) => [Number(at), hex.join('')]),
    );
    for (let at = 0; at < bytes.length; at += 32) {
      const line = bytes.subarray(at, at + 32);
      const wanted = expected.get(at) ?? '00'.repeat(line.length);
      const hex = Array.from(line, byte => byte.toString(16).padStart(2, '0')).join('');
      const masked = Array.from(hex, (digit, i) => (wanted[i] === '.' ? '.' : digit)).join('');
      expect(`${at} ${masked}`).toBe(`${at} ${wanted}`);
    }
  });

  test('makes superblocks that pass their own verification', () => {
    const plan = planFormat(
      request({
        devices: [
          device({ name: 'a', label: 'ssd.a', durability: 2 }),
          device({ name: 'b', label: 'hdd.b', durability: 0, sizeBytes: 20 * GIB }),
        ],
        targets: { foreground_target: 'ssd', background_target: 'b' },
        encryption: { passphrase: undefined },
        fsLabel: 'two',
      }),
    );
    for (const sb of plan.superblocks) expect(superblockProblems(sb, {})).toEqual([]);
    expect(members(plan.superblocks[1]!).map(member => member.nbuckets)).toEqual([2048, 20480]);
    expect(diskGroups(plan.superblocks[0]!)).toHaveLength(4);
  });

  test('is the same for the same seed, and another for another', () => {
    const bytes = (seed: string) =>
      encodeSuperblock(planFormat(request({ random: seededRandom(seed) })).superblocks[0]!);
    expect(bytes('x')).toEqual(bytes('x'));
    expect(bytes('x')).not.toEqual(bytes('y'));
  });

  test('takes buckets of any size, with btree nodes that fit', () => {
    const { geometry } = planFormat(request({ devices: [device({ bucketBytes: 192 * KIB })] }));
    expect(geometry).toMatchObject({
      btreeNodeBytes: 128 * KIB,
      devices: [{ bucketBytes: 192 * KIB, bucketCount: 5461 }],
    });
  });

  test('puts three superblocks on each device, the last in a bucket near its end', () => {
    const { layout } = planFormat(request()).superblocks[0]!;
    expect(layout.sb_offset.slice(0, 4)).toEqual([8n, 2056n, 2095104n, 0n]);
  });

  test.each<[string, Partial<FormatRequest>, string]>([
    ['no devices', { devices: [] }, 'a filesystem needs at least one device'],
    [
      'another version',
      { version: 1060 },
      '--version: no_sb_user_data_replicas (1.36) cannot be written, only 1.13 to 1.30 can',
    ],
    [
      'a device that is too small',
      { devices: [device({ sizeBytes: 100 * KIB })] },
      'disk.img is too small: 102400 bytes, at least 8388608 are needed (a kernel hangs on smaller ones)',
    ],
    [
      'a device that is too small for its btree nodes',
      { devices: [device({ sizeBytes: 16 * MIB })], options: new Map([['btree_node_size', 256 * KIB]]) },
      'disk.img is too small: 16777216 bytes, at least 134217728 are needed (512 buckets of 262144 bytes)',
    ],
    [
      'too few buckets',
      { devices: [device({ sizeBytes: 64 * MIB, bucketBytes: MIB })] },
      '--bucket_size: disk.img has room for 64 buckets of 1048576 bytes, at least 512 are needed (536870912 bytes, it has 67108864)',
    ],
    [
      'buckets smaller than btree nodes',
      { devices: [device({ bucketBytes: 64 * KIB })], options: new Map([['btree_node_size', 128 * KIB]]) },
      '--bucket_size: 65536 bytes cannot hold a btree node of 131072 bytes',
    ],
    [
      'btree nodes that make a kernel panic',
      { devices: [device({ sizeBytes: 64 * MIB })], options: new Map([['btree_node_size', 4 * KIB]]) },
      '--btree_node_size: btree nodes of 4096 bytes, at least 8192 are needed with blocks of 512 ' +
        '(Linux 6.12 panics or hangs with nodes of less than 8192 bytes or 8 blocks)',
    ],
    [
      'btree nodes of few blocks, on which a kernel hangs',
      {
        options: new Map([
          ['btree_node_size', 8 * KIB],
          ['block_size', 4 * KIB],
        ]),
      },
      '--btree_node_size: btree nodes of 8192 bytes, at least 32768 are needed with blocks of 4096 ' +
        '(Linux 6.12 panics or hangs with nodes of less than 8192 bytes or 8 blocks)',
    ],
    [
      'buckets that would hold nodes of few blocks only',
      { devices: [device({ bucketBytes: 16 * KIB })], options: new Map([['block_size', 4 * KIB]]) },
      '--bucket_size: btree nodes of 16384 bytes, at least 32768 are needed with blocks of 4096 ' +
        '(Linux 6.12 panics or hangs with nodes of less than 8192 bytes or 8 blocks)',
    ],
    [
      'a small device with large sectors, whose buckets would be too small',
      { devices: [device({ sizeBytes: 8 * MIB, physicalSectorBytes: 4096 })] },
      'disk.img is too small: 8388608 bytes, at least 16777216 are needed (512 buckets of 32768 bytes)',
    ],
    [
      'buckets in which a kernel’s journal gets stuck',
      {
        devices: [device({ sizeBytes: 64 * MIB, bucketBytes: 4 * KIB })],
        options: new Map([['btree_node_size', 8 * KIB]]),
      },
      '--bucket_size: 4096 bytes, at least 16384 are needed (a kernel cannot work with less)',
    ],
    [
      'blocks smaller than sectors',
      { devices: [device({ logicalSectorBytes: 4096 })], options: new Map([['block_size', 512]]) },
      '--block_size: 512 bytes is smaller than the sectors of disk.img (4096 bytes)',
    ],
    [
      'an unknown target',
      { devices: [device({ label: 'ssd.a' })], targets: { promote_target: 'hdd' } },
      '--promote_target: "hdd" is neither a label nor one of the devices; the labels are ssd.a',
    ],
    [
      'a label that is too long',
      { fsLabel: 'ä'.repeat(17) },
      `--fs_label: "${'ä'.repeat(17)}" is 34 bytes long, at most 32 fit`,
    ],
    [
      'superblocks of an odd size',
      { superblockBytes: 300 * KIB },
      '--superblock_size: 307200 bytes, expected a power of two from 65536 to 33554432',
    ],
    [
      'buckets that are not whole blocks',
      { devices: [device({ bucketBytes: 130 * KIB })], options: new Map([['block_size', 4096]]) },
      '--bucket_size: 133120 bytes is not a multiple of the block size, 4096 bytes',
    ],
    ['durability that would wrap', { devices: [device({ durability: 3 })] }, '--durability: 3, expected 0 to 2'],
  ])('refuses %s', (_, changes, message) => {
    expect(plannedError(changes)).toBe(message);
  });
});
