// The table of what holds or helps other things: RAID members, volume managers, encryption, swap, caches. Sources: kernel headers
// (md_p.h, swap.h, bcache.h), cryptsetup, lvm2, DRBD, and libblkid for the firmware RAIDs.

import { isBitLockerToGo } from './filesystems.ts';
import { fromEnd, fromStart, hex, type SignaturePlace, type SignatureRow, type Superblock, text } from './signature.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const PAGE_SIZES = [4, 8, 16, 32, 64].map(kib => kib * KIB);
const LAST_SECTOR = fromEnd(512);
const LAST_BUT_ONE = fromEnd(2 * 512);
/** Intel and NVIDIA count in the disk's own sectors. */
const lastButOneLogical: SignaturePlace = ({ sizeBytes, logicalSectorBytes }) =>
  (Math.floor(sizeBytes / logicalSectorBytes) - 2) * logicalSectorBytes;

const BCACHE_MAGIC = 'c68573f64e1a45ca8265f57f48ba6d81';

export const CONTAINERS: readonly SignatureRow[] = [
  {
    kind: 'raid',
    name: 'linux_raid_member', // 1.1, 1.2, 1.0
    places: [fromStart(0), fromStart(4 * KIB), fromEnd(8 * KIB, 4 * KIB)],
    magics: [hex('fc4e2ba9')],
    check: sb => sb.le32(4) === 1 && sb.le64(144) === BigInt(sb.offset) / 512n, // major version; its own sector
    details: sb => ({
      version: sb.offset === 0 ? '1.1' : sb.offset === 4 * KIB ? '1.2' : '1.0',
      label: sb.text(32, 32),
      uuid: sb.uuid(16),
    }),
  },
  {
    kind: 'raid',
    name: 'linux_raid_member', // 0.90
    places: [fromEnd(64 * KIB, 64 * KIB)],
    magics: [hex('fc4e2ba9'), hex('a92b4efc')],
    check: sb => sb.le32(4) === 0 || sb.be32(4) === 0,
    details: sb => ({ version: '0.90', uuid: raid090Uuid(sb) }),
  },
  {
    kind: 'raid',
    name: 'ddf_raid_member',
    places: [LAST_SECTOR, fromEnd(257 * 512)],
    magics: [hex('de11de11')],
    details: sb => ({ version: sb.text(32, 8) }),
  },
  {
    kind: 'raid',
    name: 'isw_raid_member', // Intel firmware RAID
    places: [lastButOneLogical],
    magics: [text('Intel Raid ISM Cfg Sig. ')],
    details: sb => ({ version: sb.text(24, 6) }),
  },
  { kind: 'raid', name: 'lsi_mega_raid_member', places: [LAST_SECTOR], magics: [text('$XIDE$')] },
  {
    kind: 'raid',
    name: 'via_raid_member',
    places: [LAST_SECTOR],
    magics: [hex('55aa')],
    check: sb => sb.u8(2) <= 2 && (sum8(sb, 50) & 0xff) === sb.u8(50),
  },
  {
    kind: 'raid',
    name: 'silicon_medley_raid_member',
    places: [LAST_SECTOR],
    magics: [hex('0000002f', 0x60)],
    check: sb => sb.u8(0x116) < 8 && (-sum16(sb, 0x13e) & 0xffff) === sb.le16(0x13e),
  },
  {
    kind: 'raid',
    name: 'nvidia_raid_member',
    places: [LAST_BUT_ONE],
    magics: [text('NVIDIA  ')],
    check: sb => sb.le32(8) === 30, // words that follow
  },
  {
    kind: 'raid',
    name: 'promise_fasttrack_raid_member',
    places: [63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087].map(sectors => fromEnd(sectors * 512)),
    magics: [text('Promise Technology, Inc.')],
  },
  { kind: 'raid', name: 'hpt45x_raid_member', places: [fromEnd(11 * 512)], magics: [hex('f316785a'), hex('fd16785a')] },
  {
    kind: 'raid',
    name: 'hpt37x_raid_member',
    places: [fromStart(9 * 512)],
    magics: [hex('f016785a', 32), hex('fd16785a', 32)],
  },
  {
    kind: 'raid',
    name: 'adaptec_raid_member',
    places: [LAST_SECTOR],
    magics: [hex('37fc4d1e')],
    check: sb => sb.has(text('DPTM', 244)),
  },
  {
    kind: 'raid',
    name: 'jmicron_raid_member',
    places: [LAST_SECTOR],
    magics: [text('JM')],
    check: sb => sb.u8(0x30) <= 5 && (sum16(sb, 128) & 0xffff) <= 1,
  },
  {
    kind: 'raid',
    name: 'drbd',
    places: [fromEnd(4 * KIB, 4 * KIB)],
    magics: [hex('8374026b', 60), hex('8374026c', 60), hex('8374026d', 60)],
    details: sb => ({ version: sb.u8(63) === 0x6d ? '9' : '8' }),
  },

  {
    kind: 'volume-manager',
    name: 'LVM2_member',
    places: [0, 1, 2, 3].map(sector => fromStart(sector * 512)),
    magics: [text('LVM2 001', 24)],
    check: sb => sb.has(text('LABELONE')),
    details: sb => ({ version: 'LVM2', uuid: lvmUuid(sb, 32) }),
    alsoWipe: () => [{ offset: 0, length: 8 }],
  },
  {
    kind: 'volume-manager',
    name: 'LVM1_member',
    places: [fromStart(0)],
    magics: [text('HM')],
    check: sb => (sb.le16(2) === 1 || sb.le16(2) === 2) && /^[A-Za-z0-9]{32}$/.test(sb.text(44, 32) ?? ''),
    details: sb => ({ uuid: lvmUuid(sb, 44) }),
  },
  {
    kind: 'volume-manager',
    name: 'stratis',
    places: [fromStart(512), fromStart(9 * 512)],
    magics: [hex('21537472613074697386ff025e417268', 4)],
    details: sb => ({ uuid: sb.text(32, 32) }),
  },
  { kind: 'volume-manager', name: 'vdo', places: [fromStart(0)], magics: [text('dmvdo001')] },
  { kind: 'volume-manager', name: 'VMFS_volume_member', places: [fromStart(1 * MIB)], magics: [hex('0dd001c0')] },
  { kind: 'volume-manager', name: 'ubi', places: [fromStart(0)], magics: [text('UBI#')] },
  { kind: 'volume-manager', name: 'ceph_bluestore', places: [fromStart(0)], magics: [text('bluestore block device')] },
  { kind: 'volume-manager', name: 'drbdmanage_control_volume', places: [fromStart(0)], magics: [text('$DRBDmgr=q')] },

  {
    kind: 'crypto',
    name: 'crypto_LUKS',
    places: [fromStart(0)],
    magics: [hex('4c554b53babe')],
    check: sb => sb.be16(6) === 1 || sb.be16(6) === 2,
    details: luksDetails,
  },
  {
    // The second header of LUKS2 comes after the first, whose size is one of these.
    kind: 'crypto',
    name: 'crypto_LUKS',
    places: [16, 32, 64, 128, 256, 512, 1024, 2048, 4096].map(kib => fromStart(kib * KIB)),
    magics: [hex('534b554cbabe')],
    check: sb => sb.be16(6) === 2 && sb.be64(256) === BigInt(sb.offset),
    details: luksDetails,
  },
  {
    kind: 'crypto',
    name: 'BitLocker',
    places: [fromStart(0)],
    magics: [text('-FVE-FS-', 3)],
    alsoWipe: bootSectorMarks,
  },
  {
    // BitLocker To Go looks like FAT32 to old systems; its own GUID shows what it is.
    kind: 'crypto',
    name: 'BitLocker',
    places: [fromStart(0)],
    magics: [text('MSWIN4.1', 3)],
    check: isBitLockerToGo,
    alsoWipe: bootSectorMarks,
  },
  {
    kind: 'crypto',
    name: 'DM_verity_hash',
    places: [fromStart(0)],
    magics: [hex('7665726974790000')],
    check: sb => sb.le32(8) === 1,
    details: sb => ({ uuid: sb.uuid(16) }),
  },
  {
    kind: 'crypto',
    name: 'DM_integrity',
    places: [fromStart(0)],
    magics: [hex('696e746567727400')],
    check: sb => sb.u8(8) !== 0,
    details: sb => ({ version: `${sb.u8(8)}` }),
  },

  {
    kind: 'swap',
    name: 'swap',
    places: [fromStart(0)],
    magics: PAGE_SIZES.flatMap(page => [text('SWAPSPACE2', page - 10), text('SWAP-SPACE', page - 10)]),
    superblockBytes: 4 * KIB,
    details: sb => ({ label: sb.text(1024 + 28, 16), uuid: sb.uuid(1024 + 12) }),
  },
  {
    kind: 'swap',
    name: 'swsuspend',
    places: [fromStart(0)],
    magics: [
      hex('edc302e99856e50c'),
      ...PAGE_SIZES.flatMap(page => [
        text('S1SUSPEND', page - 10),
        text('S2SUSPEND', page - 10),
        text('ULSUSPEND', page - 10),
        text('LINHIB0001', page - 10),
      ]),
    ],
    superblockBytes: 4 * KIB,
    details: sb => ({ label: sb.text(1024 + 28, 16), uuid: sb.uuid(1024 + 12) }),
  },

  {
    kind: 'other',
    name: 'bcache',
    places: [fromStart(4 * KIB)],
    magics: [hex(BCACHE_MAGIC, 24)],
    check: sb => sb.le64(8) === 8n, // its own sector; an early bcachefs has it elsewhere
    details: sb => ({ version: `${sb.le64(16)}`, label: sb.text(72, 32), uuid: sb.uuid(40) }),
  },
  { kind: 'other', name: 'DM_snapshot_cow', places: [fromStart(0)], magics: [text('SnAp')] },
  { kind: 'other', name: 'drbdproxy_datalog', places: [fromStart(0)], magics: [text('DRBDdlh*')] },
];

function luksDetails(sb: Superblock): { version: string; label: string | undefined; uuid: string | undefined } {
  const version = sb.be16(6);
  return { version: `${version}`, label: version === 2 ? sb.text(24, 48) : undefined, uuid: sb.text(168, 40) };
}

/** What is left must not pass for FAT32 or a partition table. */
function bootSectorMarks(sb: Superblock): { offset: number; length: number }[] {
  const marks = [{ offset: 0, length: 3 }];
  if (sb.has(text('FAT32   ', 0x52))) marks.push({ offset: 0x52, length: 8 });
  if (sb.has(hex('55aa', 510))) marks.push({ offset: 510, length: 2 });
  return marks;
}

/** LVM writes 32 characters and shows them as 6-4-4-4-4-4-6. */
function lvmUuid(sb: Superblock, at: number): string | undefined {
  return /^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/
    .exec(sb.text(at, 32) ?? '')
    ?.slice(1)
    .join('-');
}

/** Four words that are not together, shown most significant byte first whatever the array's byte order. */
function raid090Uuid(sb: Superblock): string | undefined {
  const word = sb.has(hex('fc4e2ba9')) ? sb.le32 : sb.be32;
  const digits = [20, 52, 56, 60].map(at => word(at).toString(16).padStart(8, '0')).join('');
  return /^0*$/.test(digits) ? undefined : digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function sum8(sb: Superblock, length: number): number {
  return sb.bytes.subarray(0, length).reduce((sum, byte) => sum + byte, 0);
}

function sum16(sb: Superblock, length: number): number {
  let sum = 0;
  for (let at = 0; at < length; at += 2) sum += sb.le16(at);
  return sum;
}
