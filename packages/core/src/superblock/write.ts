// Writes superblocks: every copy that a member's layout lists, on every member, in an order that a crash cannot hurt.
// All members' primaries first (each flushed), then their backups, all of a member at once: whatever is cut off, each member has at least
// one whole copy (where the backups were bad before, they are first made what the primary is), and the members that did not get the new one are merely older, which is what a kernel expects after a crash of its
// own. The C counterparts are bch2_write_super (sb/io.c) and bch2_super_write (c_src/libbcachefs.c).

import { canChecksum, sealVstruct } from '../checksum/checksum.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { writeHeadsLast } from '../device/head-last.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { metadataChecksumType } from '../ondisk/checksum-types.ts';
import { assert, CorruptError, NoSpaceError } from '../ondisk/errors.ts';
import { count64, viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { BchMember, memberBytes, members, withMembers } from '../ondisk/sb-fields/members.ts';
import {
  BCHFS_MAGIC,
  BchSb,
  BchSbLayout,
  encodeSuperblock,
  SB_LAYOUT_SECTOR,
  SB_SECTOR,
  type Superblock,
  superblockMaxBytes,
  withSections,
} from '../ondisk/superblock.ts';
import { roundUp, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { wholeCopyAt } from './read.ts';

/** One member to be written: its device, and its superblock with its own `dev_idx` and `layout`. */
export interface MemberToWrite {
  readonly device: BlockDevice;
  readonly sb: Superblock;
}

/**
 * The bytes of one copy: offset, checksum and padding to whole sectors in place.
 * @throws NoSpaceError when the sections have outgrown the room that the layout reserves
 */
export function superblockCopyBytes(sb: Superblock, sector: bigint): Uint8Array {
  const csumType = metadataChecksumType(getBits(sb.flags, sbBits.META_CSUM_TYPE));
  const encoded = encodeSuperblock({
    ...sb,
    offset: sector,
    magic: BCHFS_MAGIC,
    layout: { ...sb.layout, magic: BCHFS_MAGIC },
    flags: withBits(sb.flags, sbBits.CSUM_TYPE, csumType),
  });
  const limit = superblockMaxBytes(sb);
  if (encoded.length > limit) {
    throw new NoSpaceError(`the superblock needs ${encoded.length} bytes, its layout reserves ${limit}`, 'ENOSPC_sb');
  }
  assert(canChecksum(csumType), `a superblock cannot have checksum type ${csumType}`);
  sealVstruct(csumType, encoded);
  const padded = new Uint8Array(roundUp(encoded.length, SECTOR_BYTES));
  padded.set(encoded);
  return padded;
}

/** Writes all copies on all members as they are given: sequence numbers and times are the caller's. */
export function writeSuperblocks(targets: readonly MemberToWrite[]): void {
  // Everything is encoded before the first write, so that a superblock that does not fit changes nothing.
  const copies = targets.map(({ device, sb }) => ({
    device,
    layout: sb.layout,
    copies: sb.layout.sb_offset
      .slice(0, sb.layout.nr_superblocks)
      .map(sector => ({ sector: Number(sector), bytes: superblockCopyBytes(sb, sector) })),
  }));
  for (const { device, sb } of targets) backUpFirst(device, sb);
  for (const { device, layout, copies: ofDevice } of copies) {
    // A kernel that finds the first copy torn reads a backup, and refuses to write when the sequence number in the first copy's
    // first sector is not the backup's (bch2_write_super in super-io.c, v1.13.0): a torn copy has to be of the old number.
    writeFirst(device, layout, ofDevice[0]);
  }
  for (const { device, copies: ofDevice } of copies) writeBackups(device, ofDevice.slice(1));
}

/**
 * A first copy that is torn needs another one. Where none of the others is whole and of its number, they become what it is, before it is
 * written over; only those that are written anyway.
 */
function backUpFirst(device: BlockDevice, { uuid, layout }: Superblock): void {
  const [firstSector = SB_SECTOR, ...others] = layout.sb_offset.slice(0, layout.nr_superblocks).map(Number);
  const first = wholeCopyAt(device, firstSector, uuid);
  if (first === undefined || others.length === 0) return;
  if (others.some(sector => wholeCopyAt(device, sector, uuid)?.sb.seq === first.sb.seq)) return;
  const copies = others.map(sector => {
    const bytes = new Uint8Array(roundUp(first.bytes.length, SECTOR_BYTES));
    bytes.set(first.bytes);
    count64.put(viewOf(bytes), BchSb.offset.offset, sector);
    sealVstruct(getBits(first.sb.flags, sbBits.CSUM_TYPE), bytes.subarray(0, first.bytes.length));
    return { offset: sectorsToBytes(sector), bytes };
  });
  writeHeadsLast(device, copies);
  device.flush();
}

interface Copy {
  readonly sector: number;
  readonly bytes: Uint8Array;
}

function writeFirst(device: BlockDevice, layout: BchSbLayout, copy: Copy | undefined): void {
  if (copy === undefined) return;
  writeHeadsLast(device, placed([copy]));
  // Not before: by itself it would look like a filesystem, and what reads a torn first copy needs the one that leads to backups.
  if (copy.sector === SB_SECTOR) writeLayout(device, layout);
  device.flush();
}

/** In any order, since the first copy is whole: what is cut off here is torn, and of a backup it does not matter of which number. */
function writeBackups(device: BlockDevice, copies: readonly Copy[]): void {
  if (copies.length === 0) return;
  for (const { offset, bytes } of placed(copies)) device.write(offset, bytes);
  device.flush();
}

const placed = (copies: readonly Copy[]) =>
  copies.map(({ sector, bytes }) => ({ offset: sectorsToBytes(sector), bytes }));

/**
 * The layout block in front of the usual place of the first superblock: what leads to superblocks where there is none. With none there, this
 * one sector is what makes a device a member.
 */
export function writeLayout(device: BlockDevice, layout: BchSbLayout): void {
  device.write(sectorsToBytes(SB_LAYOUT_SECTOR), layoutBytes(layout));
}

/** The layout block as it is kept in front of the first superblock. */
function layoutBytes(layout: BchSbLayout): Uint8Array {
  const target = new Uint8Array(BchSbLayout.size);
  BchSbLayout.put(viewOf(target), 0, { ...layout, magic: BCHFS_MAGIC });
  return target;
}

/**
 * The next generation of an edited filesystem-wide superblock, ready to write: one sequence number above every member's,
 * recorded for each member that takes part (a kernel takes a member that is newer than the newest superblock believes for
 * a split brain), the same write time everywhere.
 * @param edited the newest superblock with the changes that are to apply to all members
 * @param targets every member that is present, as read
 * @param writeTime seconds since 1970
 */
export function nextGeneration(
  edited: Superblock,
  targets: readonly MemberToWrite[],
  writeTime: bigint,
): MemberToWrite[] {
  assert(targets.length > 0, 'a superblock is written to at least one member');
  const seq = Math.max(edited.seq, ...targets.map(({ sb }) => sb.seq)) + 1;
  if (!Number.isSafeInteger(seq)) {
    throw new CorruptError(
      'count_out_of_range',
      { field: 'seq' },
      `the next number would be ${seq}, expected below 2^53`,
    );
  }
  const next = { ...edited, seq, write_time: writeTime };
  // Before metadata version 1.4 members had no sequence numbers, and no room for them.
  const hasMemberSeq = memberBytes(edited) >= BchMember.offset.seq + count64.size;
  const present = new Set(targets.map(({ sb }) => sb.dev_idx));
  const common = hasMemberSeq
    ? withMembers(
        next,
        members(edited).map((member, index) => (present.has(index) ? { ...member, seq } : member)),
      )
    : next;
  return targets.map(({ device, sb }) => ({ device, sb: forMember(common, sb) }));
}

/** Sections that describe one device and stay its own: its journal buckets. */
const SINGLE_DEVICE_SECTIONS: ReadonlySet<number> = new Set([0, 9]);

/** The filesystem-wide superblock as this member stores it: with its own index, layout and journal section. */
export function forMember(common: Superblock, own: Superblock): Superblock {
  return withSections({ ...common, dev_idx: own.dev_idx, layout: own.layout }, [
    ...common.sections.filter(section => !SINGLE_DEVICE_SECTIONS.has(section.type)),
    ...own.sections.filter(section => SINGLE_DEVICE_SECTIONS.has(section.type)),
  ]);
}
