// Entries that lie in a journal bucket after something that is not one: a scan of the journal ends there, as a kernel's does, and what comes
// after is not replayed. Where those entries are newer than all that are, a crash was not the end of the journal, and what they hold is
// lost; a kernel says nothing of it.
//
// Reads each journal bucket once more, block by block.

import { JournalProblems } from '../journal/problem.ts';
import { journalRangesOf } from '../journal/scan.ts';
import { DeviceError } from '../ondisk/errors.ts';
import { Jset, jsetMagic } from '../ondisk/jset.ts';
import { viewOf } from '../ondisk/layout.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Finding, findingOf } from '../report/finding.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';

/** Buckets may claim to be of any size. */
const CHUNK_BYTES = 1 << 20;

/** @returns one finding, when there are any */
export function entriesAfterHoles({ set, sb, replay }: Filesystem): readonly Finding[] {
  const magic = jsetMagic(sb.uuid);
  const seqs = new Set<number>();
  const blockBytes = Math.max(1, sb.block_size) * SECTOR_BYTES;
  for (const { device, sb: own } of set.members) {
    const size = sectorsToBytes(memberAt(sb, own.dev_idx)?.bucket_size ?? 0);
    if (size === 0) continue;
    for (const { start, nr } of journalRangesOf({ device, sb: own, problems: new JournalProblems() })) {
      const end = Math.min((start + nr) * size, device.sizeBytes - (device.sizeBytes % blockBytes));
      for (let at = start * size; at < end; at += CHUNK_BYTES) {
        const bytes = new Uint8Array(Math.min(CHUNK_BYTES, end - at));
        try {
          device.read(at, bytes);
        } catch (thrown) {
          // The scan has met it, and said so.
          if (!(thrown instanceof DeviceError)) throw thrown;
          continue;
        }
        const view = viewOf(bytes);
        for (let block = 0; block + Jset.size <= bytes.length; block += blockBytes) {
          if (view.getBigUint64(block + Jset.offset.magic, true) !== magic) continue;
          const seq = view.getBigUint64(block + Jset.offset.seq, true);
          if (seq > BigInt(replay.lastSeq) && seq >> 53n === 0n) seqs.add(Number(seq));
        }
      }
    }
  }
  for (const { seq } of replay.journal?.entries ?? []) seqs.delete(seq);
  for (const seq of seqs) if (replay.journal?.blacklist.has(seq)) seqs.delete(seq);
  if (seqs.size === 0) return [];
  const sorted = [...seqs].sort((a, b) => a - b);
  const detail = `entries ${sorted[0]} to ${sorted.at(-1)} lie after a hole in the journal: what they hold is lost`;
  return [findingOf({ error: 'journal_entries_missing', detail }, { journalSeq: sorted[0]! })];
}
