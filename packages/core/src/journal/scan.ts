// Looks for journal entries in the journal buckets of one member: entries follow one another from the start of a bucket, each from
// a block's start, until something else than an entry, or an entry older than the one before it (left from the bucket's earlier use).
// After an entry with a wrong checksum, whose length cannot be believed, every block is looked at. Only what an index needs is kept
// of an entry; memory is bounded by one bucket. Mirrors journal_read_bucket and jset_validate_early (journal_io.c, v1.13.0).

import { canChecksum, checksum, verifyVstruct } from '../checksum/checksum.ts';
import type { Csum } from '../checksum/csum.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { journalNonce } from '../crypto/nonce.ts';
import type { MacKey } from '../crypto/poly1305.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import { JSET, JSET_ENCRYPTED_START, Jset, jsetBytes, jsetMagic } from '../ondisk/jset.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type JournalRange, journalField, journalRanges, journalV2Field } from '../ondisk/sb-fields/journal.ts';
import type { Member } from '../ondisk/sb-fields/members.ts';
import { type Superblock, sectionPayload } from '../ondisk/superblock.ts';
import { isVersionCompatible, versionNumber } from '../ondisk/versions.ts';
import { bytesToSectors, roundUp, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import type { JournalProblems } from './problem.ts';

/** Where one copy of an entry is. */
export interface JournalPtr {
  /** Index of the member. */
  readonly dev: number;
  /** Which of the member's journal buckets: an index into its journal section, not a bucket number. */
  readonly bucketIndex: number;
  readonly bucketOffsetSectors: number;
  readonly sector: number;
  readonly checksumGood: boolean;
}

/** One copy of an entry, as far as an index of the journal needs it. */
export interface FoundJset {
  readonly ptr: JournalPtr;
  readonly seq: number;
  readonly version: number;
  readonly flags: number;
  /** Of the whole entry; cut to what is left of the bucket. */
  readonly sizeBytes: number;
  /** As stored: above `seq` or meaningless in entries that are not flushes. */
  readonly lastSeq: bigint;
  /** Two whole copies of one entry have the same one. */
  readonly digest: Csum;
}

/** A member to be searched. */
export interface ScanSource {
  readonly device: BlockDevice;
  /** The member's own superblock: its journal section is in no other. */
  readonly sb: Superblock;
  /** The member as the newest superblock has it. */
  readonly member: Member;
  /** The filesystem's key, when it is encrypted. */
  readonly key: Uint8Array | undefined;
  readonly problems: JournalProblems;
}

/** What is read at once, after the first block: most buckets are small or end early. */
const READ_BYTES = 64 * 1024;

/** What a checksum of no checksum stands in for, to compare copies with. */
const COMPARE_TYPE = checksumTypes.idOf('crc32c');

/**
 * All entries of one member's journal, in the order of its buckets.
 * @throws IncompatibleError when a whole entry is of a version that cannot be read
 */
export function* scanJournal(source: ScanSource): Generator<FoundJset> {
  const bucketBytes = sectorsToBytes(source.member.bucket_size);
  if (bucketBytes === 0) return;
  let bucketIndex = 0;
  for (const { start, nr } of journalRangesOf(source)) {
    // A device that was cut short does not make billions of buckets.
    const there = Math.max(0, Math.min(nr, Math.floor(source.device.sizeBytes / bucketBytes) - start));
    for (let i = 0; i < there; i++) yield* scanBucket(source, start + i, bucketIndex + i);
    if (there < nr) {
      const detail = `${nr - there} of the journal's buckets, from ${start + there} on, are past the end of the device`;
      source.problems.add('journal_read_error', { device: source.device.name }, detail);
    }
    bucketIndex += nr;
  }
}

/** The buckets that the journal section names, when it can be believed. */
export function journalRangesOf({
  device,
  sb,
  problems,
}: Pick<ScanSource, 'device' | 'sb' | 'problems'>): readonly JournalRange[] {
  const v2 = sectionPayload(sb, 'journal_v2');
  const v1 = sectionPayload(sb, 'journal');
  const where = { device: device.name, field: v2 === undefined ? 'journal' : 'journal_v2' };
  try {
    const ranges =
      v2 !== undefined
        ? journalV2Field.decode(v2, sb)
        : v1 !== undefined
          ? journalRanges(journalField.decode(v1, sb))
          : [];
    const wrong = ranges.length === 0 ? [] : journalV2Field.validate(ranges, sb);
    for (const { error, detail } of wrong) problems.add(error, where, detail);
    return wrong.length === 0 ? ranges : [];
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    problems.addError(thrown, where);
    return [];
  }
}

function* scanBucket(source: ScanSource, bucket: number, bucketIndex: number): Generator<FoundJset> {
  const { device, member, sb } = source;
  const blockBytes = Math.max(1, sb.block_size) * SECTOR_BYTES;
  const bucketBytes = sectorsToBytes(member.bucket_size);
  const bucketStart = bucket * bucketBytes;
  const magic = jsetMagic(sb.uuid);
  const window = new Window(device, bucketStart, bucketBytes, blockBytes);
  let newestSeq = 0;
  let isBadSeen = false;

  for (let offset = 0; offset + Jset.size <= bucketBytes; ) {
    const where = { device: device.name, sector: bytesToSectors(bucketStart + offset) };
    try {
      const header = viewOf(window.at(offset, Jset.size));
      const isEntry = header.getBigUint64(Jset.offset.magic, true) === magic;
      if (!isEntry && !isBadSeen) return;
      if (!isEntry || !isPossible(header, isBadSeen)) {
        if (isEntry) source.problems.add('jset_unsupported_version', where, 'a header that no entry can have');
        isBadSeen = true;
        offset += blockBytes;
        continue;
      }
      const claimedBytes = jsetBytes({ u64s: header.getUint32(Jset.offset.u64s, true) });
      const sizeBytes = Math.min(claimedBytes, bucketBytes - offset);
      if (claimedBytes > sizeBytes) {
        const detail = `an entry of ${claimedBytes} bytes, ${sizeBytes} are left in the bucket`;
        source.problems.add('jset_past_bucket_end', where, detail);
      }
      const found = readJset(source, window.at(offset, sizeBytes), {
        dev: sb.dev_idx,
        bucketIndex,
        bucketOffsetSectors: bytesToSectors(offset),
        sector: where.sector,
      });
      if (found === undefined) {
        isBadSeen = true;
        offset += blockBytes;
        continue;
      }
      if (found.ptr.checksumGood) {
        if (found.seq < newestSeq) return;
        newestSeq = found.seq;
      } else isBadSeen = true;
      yield found;
      offset += roundUp(sizeBytes, blockBytes);
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      // Another member may have the entry; whether one is missing is seen once all are read.
      source.problems.add('journal_read_error', where, thrown.detail);
      return;
    }
  }
}

/**
 * Whether an entry can begin like this. After something bad, what is of an unknown version is not an entry: to look for its checksum
 * at every block could take hours.
 */
function isPossible(header: DataView, isBadSeen: boolean): boolean {
  const isCountable = header.getUint32(Jset.offset.seq + 4, true) < 0x20_0000; // below 2^53
  return isCountable && (!isBadSeen || isVersionCompatible(header.getUint32(Jset.offset.version, true)));
}

/** Undefined for what looks like an entry and is none. The header was found possible. */
function readJset(
  source: ScanSource,
  bytes: Uint8Array,
  place: Omit<JournalPtr, 'checksumGood'>,
): FoundJset | undefined {
  const view = viewOf(bytes);
  const where = { device: source.device.name, sector: place.sector };
  const flags = view.getUint32(Jset.offset.flags, true);
  const version = view.getUint32(Jset.offset.version, true);
  const seq = Jset.fields.seq.codec.get(view, Jset.offset.seq);

  const csumType = JSET.csumType(flags);
  const mac = macKeyOf(source.key, seq);
  const verdict = canChecksum(csumType, mac) ? verifyVstruct(csumType, bytes, mac) : undefined;
  if (verdict === undefined) source.problems.add('jset_unknown_csum', where, `checksum type ${csumType}`);
  const checksumGood = verdict?.good ?? false;
  if (!isVersionCompatible(version)) {
    const detail = `a journal entry of metadata version ${versionNumber(version)}`;
    if (checksumGood) throw new IncompatibleError('jset_unsupported_version', where, detail);
    source.problems.add('jset_unsupported_version', where, detail);
    return undefined;
  }
  const digest = verdict !== undefined && csumType !== 0 ? verdict.stored : checksum(COMPARE_TYPE, bytes);

  const fixedPart = bytes.slice(0, Jset.size);
  decryptJset(fixedPart, source.key);
  const lastSeq = viewOf(fixedPart).getBigUint64(Jset.offset.last_seq, true);
  return { ptr: { ...place, checksumGood }, seq, version, flags, sizeBytes: bytes.length, lastSeq, digest };
}

function macKeyOf(key: Uint8Array | undefined, seq: number): MacKey | undefined {
  return key === undefined ? undefined : { key, nonce: journalNonce(seq) };
}

/**
 * Decrypts an entry, or the start of one, in place, if it is encrypted and the key is there.
 * @param bytes of an entry whose sequence number is below 2^53, from its first byte on
 */
export function decryptJset(bytes: Uint8Array, key: Uint8Array | undefined): void {
  const view = viewOf(bytes);
  const type = checksumTypes.byId(JSET.csumType(view.getUint32(Jset.offset.flags, true)));
  if (key === undefined || !type?.isEncryption) return;
  const seq = Jset.fields.seq.codec.get(view, Jset.offset.seq);
  chacha20(key, journalNonce(seq), bytes.subarray(JSET_ENCRYPTED_START));
}

/**
 * A piece of a bucket in memory, read as far as it is asked for: at first a block, since a large device has thousands of buckets for its
 * journal, nearly all of them without an entry.
 */
class Window {
  readonly #device: BlockDevice;
  readonly #start: number;
  readonly #length: number;
  readonly #blockBytes: number;
  #from = 0;
  #bytes: Uint8Array | undefined;

  /** @param start of the bucket, in bytes on the device */
  constructor(device: BlockDevice, start: number, length: number, blockBytes: number) {
    this.#device = device;
    this.#start = start;
    this.#length = length;
    this.#blockBytes = blockBytes;
  }

  /** Bytes of the bucket, valid until the next call. The range lies inside the bucket. */
  at(offset: number, length: number): Uint8Array {
    let bytes = this.#bytes;
    if (bytes === undefined || offset < this.#from || offset + length > this.#from + bytes.length) {
      const stepBytes = bytes === undefined ? this.#blockBytes : Math.max(READ_BYTES, this.#blockBytes);
      bytes = new Uint8Array(Math.min(roundUp(length, stepBytes), this.#length - offset));
      this.#device.read(this.#start + offset, bytes);
      this.#from = offset;
      this.#bytes = bytes;
    }
    return bytes.subarray(offset - this.#from, offset - this.#from + length);
  }
}
