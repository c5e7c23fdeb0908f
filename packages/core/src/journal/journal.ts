// The journal as it is on the members: every entry that was found, in the order of sequence numbers, copies of one entry joined, and
// which of them a replay would use. What the entries say is read again from the device when it is asked for, so that a journal of
// a gigabyte takes memory for its index only. Mirrors bch2_journal_read and journal_entry_add (journal_io.c, v1.13.0).

import { readBytes } from '../device/block-device.ts';
import { getBits } from '../ondisk/bits.ts';
import { assert, DeviceError, UsageError } from '../ondisk/errors.ts';
import { JSET, Jset } from '../ondisk/jset.ts';
import { decodeJsetEntries, type JsetEntries } from '../ondisk/jset-entries.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Finding } from '../report/finding.ts';
import type { MemberSet, OpenMember } from '../superblock/member-set.ts';
import { encryptionOf, masterKey } from '../superblock/passphrase.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { SeqBlacklist, type SeqRange } from './blacklist.ts';
import { JournalProblems } from './problem.ts';
import { decryptJset, type FoundJset, type JournalPtr, scanJournal } from './scan.ts';

/**
 * What a replay does with an entry: uses it; has no need of it, since all of its keys are in the btree; or must not, since it is
 * newer than the last flush, torn, or its number is blacklisted.
 */
export type JournalEntryUse = 'replay' | 'not dirty' | 'blacklisted';

/** One entry of the journal, whatever the number of its copies. */
export interface JournalEntry {
  readonly seq: number;
  /** Metadata version, `major << 10 | minor`. */
  readonly version: number;
  readonly sizeBytes: number;
  /** The oldest entry that was not yet all in the btree when this one was written; as stored, meaningless unless `isFlush`. */
  readonly lastSeq: bigint;
  readonly isFlush: boolean;
  readonly isBigEndian: boolean;
  /** Of the copy that is used. */
  readonly checksumGood: boolean;
  /** The copy that is used. */
  readonly source: JournalPtr;
  /** All copies, by member. */
  readonly ptrs: readonly JournalPtr[];
  readonly use: JournalEntryUse;
}

export interface JournalReading {
  /** Every entry that was found, oldest first. */
  readonly entries: readonly JournalEntry[];
  /** The entries that a replay reads: `last_seq` of the newest flushed entry to that entry, both included. */
  readonly replayRange: { readonly first: number; readonly last: number } | undefined;
  /** One more than the highest sequence number that was found; 0 for an empty journal. */
  readonly nextSeq: number;
  /** The superblock's ranges. */
  readonly blacklist: SeqBlacklist;
  /** Members that are there, and whose journal was not looked at because of their state. */
  readonly membersSkipped: readonly number[];
  readonly problems: readonly Finding[];
  /** How many more problems there are than the list holds. */
  readonly problemsNotListed: number;
  /**
   * What an entry says, read and decrypted now. Bytes that do not match the checksum are given as they are: `checksumGood`.
   * @throws DeviceError when no copy can be read
   */
  read(entry: JournalEntry): JsetEntries;
}

/** The master key that reading takes, for filesystems that need no passphrase for it too. */
function readingKey(set: MemberSet, key: Uint8Array | undefined): Uint8Array | undefined {
  const encryption = encryptionOf(set.newest.sb);
  if (encryption === 'none') return undefined;
  const found = key ?? (encryption === 'no passphrase' ? masterKey(set.newest.sb, undefined) : undefined);
  if (found === undefined)
    throw new UsageError('the filesystem is encrypted: its journal cannot be read without the key');
  return found;
}

/**
 * Reads the whole journal of all given members. Nothing is written.
 * @param key the master key of an encrypted filesystem
 * @throws UsageError without the key
 * @throws IncompatibleError when an entry is of a version that cannot be read
 */
export function readJournal(set: MemberSet, key?: Uint8Array): JournalReading {
  const filesystemKey = readingKey(set, key);
  const problems = new JournalProblems();
  const blacklist = SeqBlacklist.of(set.newest.sb);
  const { readable, skipped } = membersWithJournal(set);
  const index = new JournalIndex(problems);
  for (const { device, sb } of readable) {
    const member = members(set.newest.sb)[sb.dev_idx];
    if (member === undefined) continue;
    for (const found of scanJournal({ device, sb, member, key: filesystemKey, problems })) index.add(found);
  }
  const found = index.sorted();
  const replayRange = findReplayRange(found, problems);
  const entries = found.map(
    (entry): JournalEntry => finishEntry(entry, useOf(entry, replayRange, blacklist, problems)),
  );
  if (replayRange !== undefined) reportMissing(entries, replayRange, blacklist, problems);
  const byIndex = new Map(set.members.map(member => [member.sb.dev_idx, member]));
  return {
    entries,
    replayRange,
    nextSeq: (entries.at(-1)?.seq ?? -1) + 1,
    blacklist,
    membersSkipped: skipped,
    problems: problems.list,
    problemsNotListed: problems.notListed,
    read: entry => readEntry(entry, byIndex, filesystemKey),
  };
}

const READABLE_STATES: readonly number[] = [memberStates.idOf('rw'), memberStates.idOf('ro')];

/** In order of their indexes, in which copies are listed. */
function membersWithJournal({ members: opened, newest }: MemberSet): {
  readonly readable: readonly OpenMember[];
  readonly skipped: readonly number[];
} {
  const known = members(newest.sb);
  const inOrder = [...opened].sort((a, b) => a.sb.dev_idx - b.sb.dev_idx);
  const isReadable = ({ sb }: OpenMember) => {
    const member = known[sb.dev_idx];
    return member !== undefined && READABLE_STATES.includes(getBits([member.flags], memberBits.STATE));
  };
  return {
    readable: inOrder.filter(isReadable),
    skipped: inOrder.filter(member => !isReadable(member)).map(({ sb }) => sb.dev_idx),
  };
}

/** An entry while copies of it may still be found. */
interface IndexedEntry {
  chosen: FoundJset;
  readonly ptrs: JournalPtr[];
}

class JournalIndex {
  readonly #bySeq = new Map<number, IndexedEntry>();
  readonly #problems: JournalProblems;

  constructor(problems: JournalProblems) {
    this.#problems = problems;
  }

  /** The copy without a checksum error is the one to use. */
  add(found: FoundJset): void {
    const known = this.#bySeq.get(found.seq);
    if (known === undefined) {
      this.#bySeq.set(found.seq, { chosen: found, ptrs: [found.ptr] });
      return;
    }
    const { chosen, ptrs } = known;
    const where = { journalSeq: found.seq };
    if (ptrs.some(ptr => ptr.dev === found.ptr.dev)) {
      this.#problems.add('journal_entry_dup_same_device', where, `twice on member ${found.ptr.dev}`);
    }
    ptrs.push(found.ptr);
    const isIdentical =
      chosen.sizeBytes === found.sizeBytes &&
      chosen.digest.lo === found.digest.lo &&
      chosen.digest.hi === found.digest.hi &&
      chosen.ptr.checksumGood === found.ptr.checksumGood;
    if (!found.ptr.checksumGood || isIdentical) return;
    if (chosen.ptr.checksumGood) {
      const detail = `the copies on members ${chosen.ptr.dev} and ${found.ptr.dev} are whole and not the same`;
      this.#problems.add('journal_entry_replicas_data_mismatch', where, detail);
    }
    known.chosen = found;
  }

  sorted(): IndexedEntry[] {
    return [...this.#bySeq.values()].sort((a, b) => a.chosen.seq - b.chosen.seq);
  }
}

type ReplayRange = NonNullable<JournalReading['replayRange']>;

/** From the newest flushed entry; one that was torn as it was written is passed over, as the last write of a crash can be. */
function findReplayRange(found: readonly IndexedEntry[], problems: JournalProblems): ReplayRange | undefined {
  let isTornSeen = false;
  for (let i = found.length - 1; i >= 0; i--) {
    const { seq, flags, lastSeq, ptr } = found[i]!.chosen;
    if (JSET.isNoFlush(flags)) continue;
    if (!ptr.checksumGood && !isTornSeen) {
      isTornSeen = true;
      continue;
    }
    if (lastSeq > BigInt(seq)) {
      const detail = `last_seq ${lastSeq} is greater than seq ${seq}`;
      problems.add('jset_last_seq_newer_than_seq', { journalSeq: seq }, detail);
      return { first: seq, last: seq };
    }
    return { first: Number(lastSeq), last: seq };
  }
  if (found.length > 0) {
    const detail = `${found.length} journal entries, none of them flushed`;
    problems.add('dirty_but_no_journal_entries_post_drop_nonflushes', {}, detail);
  }
  return undefined;
}

function useOf(
  { chosen }: IndexedEntry,
  range: ReplayRange | undefined,
  blacklist: SeqBlacklist,
  problems: JournalProblems,
): JournalEntryUse {
  const { seq, flags, ptr } = chosen;
  if (range === undefined || seq > range.last) return 'blacklisted';
  if (seq < range.first) return 'not dirty';
  if (!blacklist.has(seq)) {
    if (!ptr.checksumGood) problems.add('journal_entry_bad_checksum', { journalSeq: seq }, checksumDetail(ptr));
    return 'replay';
  }
  if (!JSET.isNoFlush(flags))
    problems.add('jset_seq_blacklisted', { journalSeq: seq }, 'a flushed entry is blacklisted');
  return 'blacklisted';
}

const checksumDetail = ({ dev, sector }: JournalPtr) =>
  `no copy has a right checksum; member ${dev} sector ${sector} is used`;

function finishEntry({ chosen, ptrs }: IndexedEntry, use: JournalEntryUse): JournalEntry {
  return {
    seq: chosen.seq,
    version: chosen.version,
    sizeBytes: chosen.sizeBytes,
    lastSeq: chosen.lastSeq,
    isFlush: !JSET.isNoFlush(chosen.flags),
    isBigEndian: JSET.isBigEndian(chosen.flags),
    checksumGood: chosen.ptr.checksumGood,
    source: chosen.ptr,
    ptrs,
    use,
  };
}

/** Which entries between those that were found are not there, blacklisted ones aside. */
export function missingBetween(
  entries: readonly JournalEntry[],
  first: number,
  blacklist: SeqBlacklist,
): readonly SeqRange[] {
  const missing: SeqRange[] = [];
  let expected = first;
  for (const { seq } of entries) {
    missing.push(...blacklist.gaps(expected, seq));
    expected = seq + 1;
  }
  return missing;
}

function reportMissing(
  entries: readonly JournalEntry[],
  range: ReplayRange,
  blacklist: SeqBlacklist,
  problems: JournalProblems,
): void {
  const used = entries.filter(entry => entry.use === 'replay');
  for (const { start, end } of missingBetween(used, range.first, blacklist)) {
    const detail = `entries ${start} to ${end - 1} are missing of ${range.first} to ${range.last}`;
    problems.add('journal_entries_missing', { journalSeq: start }, detail);
  }
}

/** From the copy that was chosen; should its device fail now, from another whole one. */
function readEntry(
  entry: JournalEntry,
  byIndex: ReadonlyMap<number, OpenMember>,
  key: Uint8Array | undefined,
): JsetEntries {
  const others = entry.ptrs.filter(ptr => ptr !== entry.source && ptr.checksumGood);
  let failure: DeviceError | undefined;
  for (const ptr of [entry.source, ...others]) {
    const member = byIndex.get(ptr.dev);
    assert(member !== undefined, `journal entry ${entry.seq} points to member ${ptr.dev}, which is not open`);
    try {
      const bytes = readBytes(member.device, sectorsToBytes(ptr.sector), entry.sizeBytes);
      decryptJset(bytes, key);
      return decodeJsetEntries(bytes.subarray(Jset.size));
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      failure = thrown;
    }
  }
  assert(failure !== undefined, 'an entry has at least one copy');
  throw failure;
}

/** `disk.img 0:3:56 (sector 5176)`: member, journal bucket, sector inside it. */
export function journalPtrText(ptr: JournalPtr, memberName: (index: number) => string | undefined): string {
  const name = memberName(ptr.dev) ?? '(invalid dev)';
  return `${name} ${ptr.dev}:${ptr.bucketIndex}:${ptr.bucketOffsetSectors} (sector ${ptr.sector})`;
}
