// The table of foreign filesystems. Offsets are those of each format's superblock; kernel headers and libblkid are the sources.
// Copies that kernels or common tools find by themselves (f2fs, NTFS, exFAT, btrfs, nilfs2, HFS+, jfs) are places too.

import { isPowerOfTwo } from '../util/sizes.ts';
import { fromEnd, fromStart, hex, type SignatureRow, type Superblock, text } from './signature.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const FILESYSTEMS: readonly SignatureRow[] = [
  {
    kind: 'filesystem',
    name: 'ext4',
    places: [fromStart(1 * KIB)],
    magics: [hex('53ef', 56)],
    check: sb => isExt(sb) && !isExtJournal(sb),
    details: sb => ({ name: extName(sb), label: sb.text(120, 16), uuid: sb.uuid(104) }),
  },
  {
    // An ext3 or ext4 journal on a device of its own.
    kind: 'other',
    name: 'jbd',
    places: [fromStart(1 * KIB)],
    magics: [hex('53ef', 56)],
    check: sb => isExt(sb) && isExtJournal(sb),
    details: sb => ({ label: sb.text(120, 16), uuid: sb.uuid(104) }),
  },
  {
    kind: 'filesystem',
    name: 'xfs',
    places: [fromStart(0)],
    magics: [text('XFSB')],
    check: sb => isPowerOfTwo(sb.be32(4)),
    details: sb => ({ label: sb.text(108, 12), uuid: sb.uuid(32) }),
  },
  {
    kind: 'filesystem',
    name: 'btrfs',
    places: [fromStart(64 * KIB), fromStart(64 * MIB), fromStart(256 * GIB)],
    magics: [text('_BHRfS_M', 0x40)],
    superblockBytes: 0x12b + 256,
    check: sb => sb.le64(0x30) === BigInt(sb.offset), // bytenr: where it believes to be
    details: sb => ({ label: sb.text(0x12b, 256), uuid: sb.uuid(0x20) }),
  },
  {
    kind: 'filesystem',
    name: 'f2fs',
    places: [fromStart(1 * KIB), fromStart(5 * KIB)],
    magics: [hex('1020f5f2')],
    superblockBytes: 0x7c + 1024,
    details: sb => ({
      version: `${sb.le16(4)}.${sb.le16(6)}`,
      label: sb.text(0x7c, 1024, 'utf-16le'),
      uuid: sb.uuid(0x6c),
    }),
  },
  {
    kind: 'filesystem',
    name: 'ntfs',
    // The copy is the last sector of the volume, which is one past what NTFS counts.
    places: [fromStart(0), fromEnd(512)],
    magics: [text('NTFS    ', 3)],
    check: sb => isPowerOfTwo(sb.le16(11)) && sb.le16(11) >= 256 && sb.le16(14) === 0,
    details: sb => ({ label: ntfsLabel(sb), uuid: sb.le64(72).toString(16).toUpperCase().padStart(16, '0') }),
    alsoWipe: bootSectorEnd,
  },
  {
    kind: 'filesystem',
    name: 'exfat',
    places: [fromStart(0), ({ logicalSectorBytes }) => 12 * logicalSectorBytes, fromStart(12 * 512)],
    magics: [text('EXFAT   ', 3)],
    check: sb => sb.u8(108) >= 9 && sb.u8(108) <= 12, // log2 of the sector size
    details: sb => ({ version: `${sb.u8(105)}.${sb.u8(104)}`, label: exfatLabel(sb), uuid: sb.serial(100) }),
    alsoWipe: bootSectorEnd,
  },
  {
    kind: 'filesystem',
    name: 'vfat',
    places: [fromStart(0)],
    // Only the boot sector's mark is certain; what looks like a FAT is settled by its numbers.
    magics: [
      text('FAT32   ', 0x52),
      text('MSWIN', 0x52),
      text('FAT16   ', 0x36),
      text('FAT12   ', 0x36),
      text('FAT     ', 0x36),
      text('MSDOS', 0x36),
      hex('55aa', 510),
    ],
    check: isFat,
    details(sb) {
      const isFat32 = sb.le16(22) === 0;
      const label = sb.text(isFat32 ? 71 : 43, 11);
      return {
        version: isFat32 ? 'FAT32' : sb.has(text('FAT12', 0x36)) ? 'FAT12' : 'FAT16',
        label: label === 'NO NAME' ? undefined : label,
        uuid: sb.serial(isFat32 ? 67 : 39),
      };
    },
    alsoWipe: sb => [{ offset: 0, length: 3 }, ...bootSectorEnd(sb)],
  },
  {
    kind: 'filesystem',
    name: 'squashfs',
    places: [fromStart(0)],
    magics: [text('hsqs'), text('sqsh')],
    check: sb => sb.le16(28) <= 4 || sb.be16(28) <= 4,
    details(sb) {
      const major = sb.has(text('hsqs')) ? sb.le16(28) : sb.be16(28);
      const minor = sb.has(text('hsqs')) ? sb.le16(30) : sb.be16(30);
      return { name: major === 4 ? 'squashfs' : 'squashfs3', version: `${major}.${minor}` };
    },
  },
  {
    kind: 'filesystem',
    name: 'erofs',
    places: [fromStart(1 * KIB)],
    magics: [hex('e2e1f5e0')],
    check: sb => sb.u8(12) >= 9 && sb.u8(12) <= 16, // log2 of the block size
    details: sb => ({ label: sb.text(64, 16), uuid: sb.uuid(48) }),
  },
  {
    kind: 'filesystem',
    name: 'reiserfs',
    places: [fromStart(64 * KIB), fromStart(8 * KIB)],
    magics: [text('ReIsErFs', 52), text('ReIsEr2Fs', 52), text('ReIsEr3Fs', 52), text('ReIsErFs', 20)],
    details: sb => ({ label: sb.text(100, 16), uuid: sb.uuid(84) }),
  },
  {
    kind: 'filesystem',
    name: 'reiser4',
    places: [fromStart(64 * KIB)],
    magics: [text('ReIsEr4')],
    details: sb => ({ label: sb.text(36, 16), uuid: sb.uuid(20) }),
  },
  {
    kind: 'filesystem',
    name: 'jfs',
    places: [fromStart(32 * KIB), fromStart(60 * KIB)],
    magics: [text('JFS1')],
    check: sb => sb.le16(20) < 32 && sb.le32(16) === 2 ** sb.le16(20), // block size and its log2
    details: sb => ({ label: sb.text(152, 16), uuid: sb.uuid(136) }),
  },
  {
    kind: 'filesystem',
    name: 'nilfs2',
    places: [fromStart(1 * KIB), fromEnd(4 * KIB)],
    magics: [hex('3434', 6)],
    // rev_level, bytes, log2 of the block size above 1 KiB, blocks per segment
    check: sb => sb.le32(0) === 2 && sb.le16(8) >= 264 && sb.le16(8) <= 1024 && sb.le32(20) <= 6 && sb.le32(48) > 0,
    details: sb => ({ label: sb.text(168, 80), uuid: sb.uuid(152) }),
  },
  {
    kind: 'filesystem',
    name: 'ocfs2',
    places: [fromStart(1 * KIB), fromStart(2 * KIB), fromStart(4 * KIB), fromStart(8 * KIB)],
    magics: [text('OCFSV2')],
    details: sb => ({ label: sb.text(0x110, 64), uuid: sb.uuid(0x150) }),
  },
  {
    kind: 'filesystem',
    name: 'gfs2',
    places: [fromStart(64 * KIB)],
    magics: [hex('01161970')],
    check: sb => sb.be32(4) === 1, // metadata type: superblock
    // fs_format: 1309 is the first GFS.
    details: sb => ({
      name: sb.be32(24) < 1800 ? 'gfs' : 'gfs2',
      label: sb.text(160, 64),
      uuid: sb.be32(24) < 1800 ? undefined : sb.uuid(256),
    }),
  },
  {
    kind: 'filesystem',
    name: 'hfsplus',
    places: [fromStart(1 * KIB), fromEnd(1 * KIB)],
    magics: [text('H+'), text('HX')],
    check: sb => (sb.be16(2) === 4 || sb.be16(2) === 5) && isPowerOfTwo(sb.be32(40)) && sb.be32(40) >= 512,
  },
  {
    kind: 'filesystem',
    name: 'hfs',
    places: [fromStart(1 * KIB), fromEnd(1 * KIB)],
    magics: [text('BD')],
    check: sb => sb.be32(20) > 0 && sb.be32(20) % 512 === 0 && sb.be16(18) > 0 && sb.u8(36) <= 27, // blocks; label length
    details: sb => ({
      // HFS+ may hide inside: the wrapper says so.
      name: sb.has(text('H+', 124)) || sb.has(text('HX', 124)) ? 'hfsplus' : 'hfs',
      label: sb.text(37, sb.u8(36)),
    }),
  },
  {
    kind: 'filesystem',
    name: 'apfs',
    places: [fromStart(0)],
    magics: [text('NXSB', 32)],
    check: sb => isPowerOfTwo(sb.le32(36)),
    details: sb => ({ uuid: sb.uuid(72) }),
  },
  {
    kind: 'filesystem',
    name: 'minix',
    places: [fromStart(1 * KIB)],
    magics: ['7f13', '8f13', '137f', '138f', '6824', '7824', '2468', '2478']
      .map(bytes => hex(bytes, 16))
      .concat(hex('5a4d', 24), hex('4d5a', 24)),
    check: isMinix,
  },
  {
    kind: 'filesystem',
    name: 'romfs',
    places: [fromStart(0)],
    magics: [text('-rom1fs-')],
    details: sb => ({ label: sb.text(16, 16) }),
  },
  {
    kind: 'filesystem',
    name: 'cramfs',
    places: [fromStart(0), fromStart(512)], // the second leaves room for a boot sector
    magics: [hex('453dcd28'), hex('28cd3d45')],
    check: sb => sb.has(text('Compressed ROMFS', 16)),
    details: sb => ({ label: sb.text(48, 16) }),
  },
  {
    kind: 'filesystem',
    name: 'ufs',
    places: [fromStart(0), fromStart(8 * KIB), fromStart(64 * KIB), fromStart(256 * KIB)],
    magics: ['00011954', '19540119', '00195612', '00095014', '00612195', '05231994'].flatMap(bytes => [
      hex(bytes, 1372),
      hex((bytes.match(/../g) ?? []).reverse().join(''), 1372),
    ]),
    superblockBytes: 1376,
    // Block and fragment size, in either byte order.
    check: sb =>
      (isPowerOfTwo(sb.le32(48)) && isPowerOfTwo(sb.le32(52))) ||
      (isPowerOfTwo(sb.be32(48)) && isPowerOfTwo(sb.be32(52))),
  },
  { kind: 'filesystem', name: 'hpfs', places: [fromStart(8 * KIB)], magics: [hex('49e895f9')] },
  {
    kind: 'filesystem',
    name: 'vxfs',
    places: [fromStart(1 * KIB), fromStart(8 * KIB)],
    magics: [hex('f5fc01a5'), hex('a501fcf5')],
  },
  { kind: 'filesystem', name: 'bfs', places: [fromStart(0)], magics: [hex('cefaad1b')] },
  {
    kind: 'filesystem',
    name: 'befs',
    places: [fromStart(0), fromStart(512)],
    magics: [text('BFS1', 32), text('1SFB', 32)],
    details: sb => ({ label: sb.text(0, 32) }),
  },
  {
    kind: 'filesystem',
    name: 'ReFS',
    places: [fromStart(0)],
    magics: [hex('0000005265465300')],
  },
  {
    kind: 'filesystem',
    name: 'ocfs',
    places: [fromStart(8 * KIB)],
    magics: [text('OracleCFS')],
  },
  { kind: 'filesystem', name: 'oracleasm', places: [fromStart(0)], magics: [text('ORCLDISK', 32)] },
  { kind: 'filesystem', name: 'ubifs', places: [fromStart(0)], magics: [hex('31181006')] },
  {
    kind: 'filesystem',
    name: 'zonefs',
    places: [fromStart(0)],
    magics: [text('SFOZ')],
    details: sb => ({ label: sb.text(8, 64), uuid: sb.uuid(72) }),
  },
  { kind: 'filesystem', name: 'exfs', places: [fromStart(0)], magics: [text('EXFS')] },
  { kind: 'filesystem', name: 'nss', places: [fromStart(4 * KIB)], magics: [text('SPB5')] },
  {
    kind: 'filesystem',
    name: 'scoutfs',
    places: [fromStart(64 * KIB)],
    magics: [hex('8b423c10', 4)],
  },
  {
    kind: 'filesystem',
    name: 'VMFS',
    places: [fromStart(2 * MIB)],
    magics: [hex('5ef1ab2f')],
    details: sb => ({ label: sb.text(29, 128) }),
  },
];

/** log2 of the block size above 1 KiB, blocks per group, revision. */
function isExt(sb: Superblock): boolean {
  return sb.le32(24) <= 6 && sb.le32(32) > 0 && sb.le32(76) <= 1;
}

function isExtJournal(sb: Superblock): boolean {
  return (sb.le32(96) & 0x8) !== 0; // incompat journal_dev
}

/** Which of the family: by the features that the older drivers know. */
function extName(sb: Superblock): string {
  const [compat, incompat, readOnlyCompat] = [sb.le32(92), sb.le32(96), sb.le32(100)];
  // ext2: filetype, meta_bg; ext3 adds recover; both: sparse_super, large_file, btree_dir.
  if ((incompat & ~(0x2 | 0x4 | 0x10)) !== 0 || (readOnlyCompat & ~0x7) !== 0) return 'ext4';
  return (compat & 0x4) !== 0 ? 'ext3' : 'ext2';
}

/** 0x55aa is also in every partition table: a FAT boot sector has sensible numbers. Mirrors what the kernel's fat driver asks for. */
export function isFat(sb: Superblock): boolean {
  if (sb.has(text('JFS     ', 0x36)) || sb.has(text('HPFS    ', 0x36))) return false; // OS/2 writes FAT-like boot sectors
  if (sb.has(text('-FVE-FS-', 3)) || isBitLockerToGo(sb)) return false;
  const sectorBytes = sb.le16(11);
  const [sectorsPerCluster, reservedSectors, fats, media] = [sb.u8(13), sb.le16(14), sb.u8(16), sb.u8(21)];
  const fatSectors = sb.le16(22) || sb.le32(36);
  return (
    isPowerOfTwo(sectorBytes) &&
    sectorBytes >= 512 &&
    sectorBytes <= 4096 &&
    isPowerOfTwo(sectorsPerCluster) &&
    reservedSectors > 0 &&
    fats > 0 &&
    fatSectors > 0 &&
    (media >= 0xf8 || media === 0xf0) &&
    (sb.u8(0) === 0xeb || sb.u8(0) === 0xe9 || sb.has(hex('55aa', 510)))
  );
}

export function isBitLockerToGo(sb: Superblock): boolean {
  return sb.guid(424) === '4967d63b-2e29-4ad8-8399-f6a339e3d001';
}

/** Two-byte magics in either byte order, so the counts must fit together. */
function isMinix(sb: Superblock): boolean {
  if (sb.has(hex('53ef', 56)) || sb.has(hex('e2e1f5e0'))) return false; // ext and erofs have their inode counts there
  const isVersion3 = sb.has(hex('5a4d', 24)) || sb.has(hex('4d5a', 24));
  const little = ['7f13', '8f13', '6824', '7824'].some(bytes => sb.has(hex(bytes, 16))) || sb.has(hex('5a4d', 24));
  const u16 = little ? sb.le16 : sb.be16;
  const u32 = little ? sb.le32 : sb.be32;
  const isVersion2 = ['6824', '7824', '2468', '2478'].some(bytes => sb.has(hex(bytes, 16)));
  const inodes = isVersion3 ? u32(0) : u16(0);
  const zones = isVersion3 || isVersion2 ? u32(20) : u16(2);
  const [inodeMapBlocks, zoneMapBlocks, firstZone, logZoneBytes] = isVersion3
    ? [u16(6), u16(8), u16(10), u16(12)]
    : [u16(4), u16(6), u16(8), u16(10)];
  const bitsPerBlock = 8 * KIB;
  return (
    logZoneBytes === 0 &&
    inodes > 0 &&
    inodeMapBlocks * bitsPerBlock >= inodes + 1 &&
    firstZone <= zones &&
    zoneMapBlocks * bitsPerBlock >= zones - firstZone + 1
  );
}

/** The name attribute of $Volume, the fourth record of the master file table. Attributes end with the record. */
function ntfsLabel(sb: Superblock): string | undefined {
  const clusterBytes = sb.le16(11) * sb.u8(13);
  const recordSize = (sb.u8(64) << 24) >> 24; // clusters; negative: log2 of the bytes
  const recordBytes = recordSize < 0 ? 2 ** -recordSize : recordSize * clusterBytes;
  if (recordBytes < 256 || recordBytes > 64 * KIB) return undefined;
  const record = sb.follow(Number(sb.le64(48)) * clusterBytes + 3 * recordBytes, recordBytes);
  if (record === undefined || !record.has(text('FILE'))) return undefined;
  for (let at = record.le16(20); at + 24 <= recordBytes; at += record.le32(at + 4)) {
    const [type, length] = [record.le32(at), record.le32(at + 4)];
    if (length < 24) return undefined; // also the end mark's zeroes
    if (type === NTFS_VOLUME_NAME) return record.text(at + record.le16(at + 20), record.le32(at + 16), 'utf-16le');
  }
  return undefined;
}

const NTFS_VOLUME_NAME = 0x60;

/** The label entry is among the first of the root directory. */
function exfatLabel(sb: Superblock): string | undefined {
  const [sectorShift, clusterShift] = [sb.u8(108), sb.u8(109)];
  if (sectorShift + clusterShift > 25) return undefined; // 32 MiB is the largest cluster
  const heapOffset = sb.le32(88) * 2 ** sectorShift;
  const root = sb.follow(heapOffset + (sb.le32(96) - 2) * 2 ** (sectorShift + clusterShift), 512);
  if (root === undefined) return undefined;
  for (let entry = 0; entry < 512; entry += 32) {
    if (root.u8(entry) === EXFAT_LABEL_ENTRY)
      return root.text(entry + 2, 2 * Math.min(root.u8(entry + 1), 11), 'utf-16le');
  }
  return undefined;
}

const EXFAT_LABEL_ENTRY = 0x83;

function bootSectorEnd(sb: Superblock): { offset: number; length: number }[] {
  return sb.has(hex('55aa', 510)) ? [{ offset: 510, length: 2 }] : [];
}
