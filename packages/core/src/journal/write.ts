// Makes a journal entry and finds a place for it. Between commits the journal holds one entry that counts: it names the roots of all
// btrees, and nothing after it is to be replayed. A new one goes into another bucket than any entry that the old state needs, so that
// a torn write loses nothing; once it is whole on a device, it is the new state.
// Source: bch2_journal_write_prep in journal_io.c, bch2_journal_super_entries_add_common in sb-clean.c, v1.13.0.

import { sealVstruct } from '../checksum/checksum.ts';
import { journalNonce } from '../crypto/nonce.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { getBits } from '../ondisk/bits.ts';
import { Bkey, KEY_FORMAT_CURRENT } from '../ondisk/bkey.ts';
import { metadataChecksumType } from '../ondisk/checksum-types.ts';
import { assert } from '../ondisk/errors.ts';
import { JSET, Jset, jsetBytes, jsetMagic } from '../ondisk/jset.ts';
import { encodeJsetEntries, type JsetEntry } from '../ondisk/jset-entries.ts';
import { fsUsageTypes, type JsetEntryTypeName, jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { MemberSet } from '../superblock/member-set.ts';
import { bytesToSectors, roundUp, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import type { JournalReading } from './journal.ts';
import type { BtreeRoot } from './overlay.ts';
import { JournalProblems } from './problem.ts';
import type { JournalClocks } from './replay.ts';
import { decryptJset, journalRangesOf } from './scan.ts';

/** The sub-entries that say where a filesystem stands. */
export function stateEntries(roots: Iterable<BtreeRoot>, clocks: JournalClocks): readonly JsetEntry[] {
  const entries: JsetEntry[] = [];
  for (const { btree, level, key } of roots) {
    // A root that was lost cannot be passed on.
    if (key === undefined) continue;
    const payload = new Uint8Array(Bkey.size + key.value.length);
    Bkey.put(viewOf(payload), 0, { ...key.k, format: KEY_FORMAT_CURRENT });
    payload.set(key.value, Bkey.size);
    entries.push(entryOf('btree_root', payload, { btree_id: btree, level }));
  }
  entries.push(entryOf('usage', words(clocks.keyVersion), { btree_id: USAGE_KEY_VERSION }));
  entries.push(entryOf('clock', words(0n, clocks.read)), entryOf('clock', words(1n, clocks.write)));
  return entries;
}

/** Which usage an entry records, in the place of a btree. */
const USAGE_KEY_VERSION = fsUsageTypes.idOf('key_version');

/** When an entry was written, for people. */
export const datetimeEntry = (seconds: bigint): JsetEntry => entryOf('datetime', words(seconds));

function entryOf(
  type: JsetEntryTypeName,
  payload: Uint8Array,
  rest: { btree_id?: number; level?: number } = {},
): JsetEntry {
  return {
    u64s: payload.length / 8,
    btree_id: 0,
    level: 0,
    type: jsetEntryTypes.idOf(type),
    pad: new Uint8Array(3),
    ...rest,
    payload,
  };
}

function words(...values: readonly bigint[]): Uint8Array {
  const target = new Uint8Array(8 * values.length);
  for (const [i, value] of values.entries()) viewOf(target).setBigUint64(8 * i, value, true);
  return target;
}

/** The checksum type of journal entries and btree nodes. Mirrors bch2_meta_checksum_type. */
export function metaChecksumType(sb: Superblock): number {
  const isEncrypted = getBits(sb.flags, sbBits.ENCRYPTION_TYPE) !== 0;
  return metadataChecksumType(getBits(sb.flags, sbBits.META_CSUM_TYPE), isEncrypted);
}

/** A whole entry, in whole blocks, that was flushed and needs no entry before it. */
export function encodeJset(
  sb: Superblock,
  key: Uint8Array | undefined,
  seq: number,
  entries: readonly JsetEntry[],
): Uint8Array {
  const payload = encodeJsetEntries(entries);
  const u64s = payload.length / 8;
  const bytes = new Uint8Array(roundUp(jsetBytes({ u64s }), sb.block_size * SECTOR_BYTES));
  const csumType = metaChecksumType(sb);
  const head = {
    seq,
    version: sb.version,
    flags: csumType,
    u64s,
    read_clock: 0,
    write_clock: 0,
    last_seq: BigInt(seq),
  };
  Jset.put(viewOf(bytes), 0, { csum: { lo: 0n, hi: 0n }, magic: jsetMagic(sb.uuid), ...head });
  assert(JSET.csumType(head.flags) === csumType && !JSET.isNoFlush(head.flags), 'the flags are the checksum type');
  bytes.set(payload, Jset.size);
  const jset = bytes.subarray(0, jsetBytes({ u64s }));
  decryptJset(jset, key); // encrypting is the same operation
  sealVstruct(csumType, jset, key === undefined ? undefined : { key, nonce: journalNonce(seq) });
  return bytes;
}

/** Where a copy of an entry goes. */
export interface JournalSlot {
  readonly device: BlockDevice;
  readonly member: number;
  /** Among the member's journal buckets. */
  readonly bucketIndex: number;
  readonly sector: number;
  /** How much of the bucket is used then. */
  readonly endSectors: number;
}

/**
 * A place for a new entry at the start of a journal bucket, on each member that has one to spare.
 * @param keepFrom entries from this number on are still needed
 */
export function journalSlots(
  set: MemberSet,
  reading: JournalReading,
  sizeBytes: number,
  keepFrom: number,
): readonly JournalSlot[] {
  const known = members(set.newest.sb);
  const places: JournalSlot[] = [];
  for (const { device, sb } of set.members) {
    const member = known[sb.dev_idx];
    if (member === undefined || sectorsToBytes(member.bucket_size) < sizeBytes) continue;
    const buckets: number[] = [];
    for (const { start, nr } of journalRangesOf({ device, sb, problems: new JournalProblems() })) {
      for (let i = 0; i < nr && buckets.length < BUCKETS_LOOKED_AT; i++) buckets.push(start + i);
    }
    const copies = reading.entries.flatMap(({ seq, ptrs }) =>
      ptrs.filter(({ dev }) => dev === sb.dev_idx).map(({ bucketIndex }) => ({ seq, bucketIndex })),
    );
    const needed = new Set(copies.filter(({ seq }) => seq >= keepFrom).map(({ bucketIndex }) => bucketIndex));
    const newest = copies.at(-1)?.bucketIndex ?? buckets.length - 1;
    for (let step = 1; step <= buckets.length; step++) {
      const bucketIndex = (newest + step) % buckets.length;
      const bucket = buckets[bucketIndex];
      if (bucket === undefined || needed.has(bucketIndex)) continue;
      places.push({
        device,
        member: sb.dev_idx,
        bucketIndex,
        sector: bucket * member.bucket_size,
        endSectors: bytesToSectors(sizeBytes),
      });
      break;
    }
  }
  return places;
}

/** A journal has up to some thousands; a superblock that claims more does not fill the memory. */
const BUCKETS_LOOKED_AT = 1 << 16;
