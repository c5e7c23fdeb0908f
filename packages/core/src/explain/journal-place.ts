// What of the journal a byte is: which entry, which sub-entry and which key in it. Entries that reading the journal finds are shown with
// what a replay does with them; after them, what is left of earlier uses of the bucket is looked for by its magic.

import { canChecksum, verifyVstruct } from '../checksum/checksum.ts';
import { journalNonce } from '../crypto/nonce.ts';
import { type BlockDevice, readBytes } from '../device/block-device.ts';
import type { JournalReading } from '../journal/journal.ts';
import { JournalProblems } from '../journal/problem.ts';
import { decryptJset, journalRangesOf } from '../journal/scan.ts';
import { JSET, Jset, jsetBytes, jsetMagic } from '../ondisk/jset.ts';
import { viewOf } from '../ondisk/layout.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { OpenMember } from '../superblock/member-set.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { annotationAt } from './annotate.ts';
import type { JournalPlace, JsetPlace, Region } from './explanation.ts';
import { annotateJset, subEntryAt } from './jset-annotations.ts';

/** @param journal what reading it found, when it could be read */
export function journalPlaceAt(
  source: Filesystem,
  member: OpenMember,
  offset: number,
  journal: () => JournalReading | undefined,
): JournalPlace | undefined {
  const { device, sb } = member;
  const bucketBytes = sectorsToBytes(members(source.sb)[sb.dev_idx]?.bucket_size ?? 0);
  if (bucketBytes === 0) return undefined;
  const bucket = Math.floor(offset / bucketBytes);
  const ranges = journalRangesOf({ device, sb, problems: new JournalProblems() });
  const bucketCount = ranges.reduce((sum, { nr }) => sum + nr, 0);
  let bucketIndex = 0;
  for (const { start, nr } of ranges) {
    if (bucket < start || bucket >= start + nr) {
      bucketIndex += nr;
      continue;
    }
    bucketIndex += bucket - start;
    const common = { kind: 'journal', bucketIndex, bucketCount } as const;
    const found = knownEntry(journal(), sb.dev_idx, offset) ?? leftEntry(source, device, bucket * bucketBytes, offset);
    if (found === undefined) return { ...common, entry: undefined, field: undefined, region: undefined };
    const at = sectorsToBytes(found.sector);
    const bytes = readBytes(device, at, Math.min(found.sizeBytes, device.sizeBytes - at));
    decryptJset(bytes, source.key);
    const region: Region = {
      at,
      bytes,
      isDecrypted: source.key !== undefined,
      annotations: (first, last) => annotateJset(bytes, at, { first, last }),
    };
    const entry: JsetPlace = { ...found, sub: subEntryAt(bytes, Jset.size, offset - at) };
    return { ...common, entry, field: annotationAt(region.annotations(offset, offset + 1), offset), region };
  }
  return undefined;
}

type FoundEntry = Omit<JsetPlace, 'sub'>;

/** The entry that has a copy there. */
function knownEntry(journal: JournalReading | undefined, dev: number, offset: number): FoundEntry | undefined {
  for (const { seq, sizeBytes, use, ptrs } of journal?.entries ?? []) {
    for (const { dev: onDevice, sector, checksumGood } of ptrs) {
      const at = sectorsToBytes(sector);
      if (onDevice === dev && offset >= at && offset < at + sizeBytes) {
        return { seq, sector, sizeBytes, checksumGood, use };
      }
    }
  }
  return undefined;
}

/** The nearest header before, if its entry reaches to the byte. Each block is looked at once: a bucket has a few thousand. */
function leftEntry(source: Filesystem, device: BlockDevice, bucketAt: number, offset: number): FoundEntry | undefined {
  const { sb, key } = source;
  const blockBytes = Math.max(1, sb.block_size) * SECTOR_BYTES;
  const magic = jsetMagic(sb.uuid);
  for (
    let at = bucketAt + Math.floor((offset - bucketAt) / blockBytes) * blockBytes;
    at >= bucketAt;
    at -= blockBytes
  ) {
    if (at + Jset.size > device.sizeBytes) continue;
    const header = viewOf(readBytes(device, at, Jset.size));
    if (header.getBigUint64(Jset.offset.magic, true) !== magic) continue;
    if (header.getUint32(Jset.offset.seq + 4, true) >= 2 ** 21) return undefined;
    const sizeBytes = jsetBytes({ u64s: header.getUint32(Jset.offset.u64s, true) });
    if (offset >= at + sizeBytes || at + sizeBytes > device.sizeBytes || sizeBytes > ENTRY_BYTES_MAX) return undefined;
    const { seq, flags } = Jset.get(header, 0);
    const mac = key === undefined ? undefined : { key, nonce: journalNonce(seq) };
    const type = JSET.csumType(flags);
    const checksumGood = canChecksum(type, mac) && verifyVstruct(type, readBytes(device, at, sizeBytes), mac).good;
    return { seq, sector: at / SECTOR_BYTES, sizeBytes, checksumGood, use: 'left' };
  }
  return undefined;
}

/** Kernels write entries of up to 4 MiB. */
const ENTRY_BYTES_MAX = 16 * 2 ** 20;
