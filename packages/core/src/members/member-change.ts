// What making a member larger and making it smaller have in common: what is on it and where its end is, a change that keeps off its end,
// and what becomes of superblock copies that have moved.

import { type AllocDevice, allocDevices } from '../alloc/alloc-devices.ts';
import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, dirtySectorsOf, TYPE } from '../alloc/bucket-state.ts';
import { nodeReserveBuckets, reservedSectors } from '../alloc/reserve.ts';
import { beginChange, type Change } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { getBits } from '../ondisk/bits.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { UsageError } from '../ondisk/errors.ts';
import { accountingBpos } from '../ondisk/keys/accounting.ts';
import { viewOf } from '../ondisk/layout.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { decodeJournal, decodeJournalV2 } from '../ondisk/sb-fields/journal.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import { type BchSbLayout, SB_LAYOUT_SECTOR, type Superblock, sectionPayload } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { memberText, type OpenMember } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';

/** What of a member's size is to be looked at before anything is done. */
export interface MemberUse {
  readonly device: AllocDevice;
  readonly member: OpenMember;
  /** Buckets with something in them that stays, superblocks left out. */
  readonly taken: number;
  /** Those of them that nothing is moved from, in order: they hold parity or an empty block, and are free when their stripe ends. */
  readonly endWithStripe: readonly number[];
  /** After the last bucket whose place is fixed: of superblock copies but the last. */
  readonly fixedEnd: number;
}

export function memberUse(filesystem: Filesystem, dev: number): MemberUse {
  const { sb, set } = filesystem;
  const device = allocDevices(sb)[dev];
  const member = set.members.find(one => one.sb.dev_idx === dev);
  if (device === undefined || member === undefined) throw new UsageError(`the filesystem has no member ${dev} at hand`);
  if (getBits([members(sb)[dev]!.flags], memberBits.FREESPACE_INITIALIZED) === 0) {
    throw new UsageError(`${memberText(sb, dev)} has no list of its free buckets yet: mount the filesystem once`);
  }
  let taken = 0;
  const endWithStripe: number[] = [];
  for (const key of filesystem.btree('alloc').keys({ from: bucketPos(dev, 0), to: bucketPos(dev, device.bucketEnd) })) {
    const state = bucketStateOf(key);
    if (state.dataType === TYPE.sb) continue;
    if (dirtySectorsOf(state) === 0 && state.stripe === 0) continue;
    taken++;
    const isEmptyBlock = state.stripe !== 0 && state.dirtySectors === 0;
    if (state.dataType === TYPE.parity || isEmptyBlock) endWithStripe.push(bposOffsetNumber(key.k.p));
  }
  const { layout } = member.sb;
  const copiesEnd = Number(layout.sb_offset[layout.nr_superblocks - 2] ?? 0) + 2 ** layout.sb_max_size_bits;
  return { device, member, taken, endWithStripe, fixedEnd: Math.ceil(copiesEnd / device.bucketSizeSectors) };
}

/** Buckets that a kernel keeps free before it lets users write, and as many more as it needs to start. */
export function bucketsKept(sb: Superblock, device: AllocDevice, count: number): number {
  const reserve = reservedSectors(sb, [{ ...device, bucketEnd: count }]);
  const nodes = nodeReserveBuckets(device, getBits(sb.flags, sbBits.BTREE_NODE_SIZE));
  return Math.ceil(reserve / device.bucketSizeSectors) + nodes;
}

export function journalOf(sb: Superblock): readonly { readonly start: number; readonly nr: number }[] {
  const v2 = sectionPayload(sb, 'journal_v2');
  if (v2 !== undefined) return decodeJournalV2(v2);
  return decodeJournal(sectionPayload(sb, 'journal') ?? new Uint8Array(0)).map(start => ({ start, nr: 1 }));
}

/** Buckets of the device that no counter knows of: what a commit that was cut off leaves. */
export function uncountedBuckets(filesystem: Filesystem, { index: dev, firstBucket, bucketEnd }: AllocDevice): number {
  let counted = 0;
  for (const { id } of dataTypes.rows) {
    if (id === TYPE.unstriped) continue;
    const pos = accountingBpos({ type: 'dev_data_type', dev, data_type: id }, { version: filesystem.sb.version });
    const key = filesystem.btree('accounting').get(pos);
    if (key !== undefined && key.value.length >= 8) counted += Number(viewOf(key.value).getBigInt64(0, true));
  }
  return bucketEnd - firstBucket - counted;
}

/** A change that puts nothing into the buckets of a member from `end` on. */
export const beginBelow = (writer: FilesystemWriter, dev: number, end: number): Change =>
  beginChange(writer, { usesReserve: true, ends: new Map([[dev, end]]) });

/** Copies that are not kept up to date any more must not be found by a search for superblocks. */
export function wipeCopies({ device, sb }: OpenMember, layout: BchSbLayout): void {
  const copySectors = 2 ** layout.sb_max_size_bits;
  const kept = layout.sb_offset.slice(0, layout.nr_superblocks).map(Number);
  for (const sector of sb.layout.sb_offset.slice(0, sb.layout.nr_superblocks).map(Number)) {
    const isOverwritten = kept.some(copy => sector < copy + copySectors && copy < sector + WIPED_SECTORS);
    if (!isOverwritten) device.write(sectorsToBytes(sector), new Uint8Array(sectorsToBytes(WIPED_SECTORS)));
  }
  device.flush();
}

/** No copy of the superblock is found any more on a device that has left. */
export function wipeMember({ device, sb }: OpenMember): void {
  const { layout } = sb;
  const bytes = new Uint8Array(sectorsToBytes(WIPED_SECTORS));
  for (const sector of layout.sb_offset.slice(0, layout.nr_superblocks).map(Number))
    device.write(sectorsToBytes(sector), bytes);
  device.write(sectorsToBytes(SB_LAYOUT_SECTOR), new Uint8Array(sectorsToBytes(1)));
  device.flush();
}

/** The magic is among the first bytes. */
const WIPED_SECTORS = 8;
