// Going back in the journal: the filesystem as it was after an earlier entry. Since long before 1.13, kernels write beside each changed key what stood
// there before (sub-entries `overwrite`). Taken from the newest entry back to the wanted one and laid over the present btrees, they give the keys of
// files as they were then. Allocation info stays that of now, so that what points into a bucket that was used anew is known to be gone.
//
// An entry can be taken back when each key that it changes in a btree of files has its overwrite beside it. A commit of this program has none: its
// nodes are new, and only the roots in its entry say so. Going back ends there, and where entries are missing.
// Nothing is written. Source: bch2_journal_keys_sort in btree/journal_overlay.c and journal_rewind_info.rs, v1.39.2.

import { Bkey, type Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { decodeJsetEntry, type JsetEntry } from '../ondisk/jset-entries.ts';
import { jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import { BchBtreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import type { Damage } from '../report/finding.ts';
import { keyContext } from '../superblock/key-context.ts';
import type { MemberSet } from '../superblock/member-set.ts';
import { areEqual } from '../util/byte-text.ts';
import { type JournalEntry, type JournalReading, readJournal } from './journal.ts';
import { journalKeys } from './keys.ts';
import { OverlayBuilder } from './overlay.ts';
import type { ReplayState } from './replay.ts';

/** A state that the journal reaches. */
export interface RewindPoint {
  /** After this entry. */
  readonly seq: number;
  /** When it was written, in seconds since 1970; undefined where it does not say. */
  readonly seconds: bigint | undefined;
  /** A flush: a crash would have left this state, or a later one. */
  readonly isFlush: boolean;
}

export interface RewindReach {
  /** Oldest first; the last one is the present state. Empty when the journal does not go on to it. */
  readonly points: readonly RewindPoint[];
  /** Why it does not reach further, in a sentence. */
  readonly limit: string;
  /** What the newest entry says is the oldest whose buckets a kernel has kept; undefined for older kernels. */
  readonly keptSince: number | undefined;
}

const TYPE = {
  keys: jsetEntryTypes.idOf('btree_keys'),
  overwrite: jsetEntryTypes.idOf('overwrite'),
  root: jsetEntryTypes.idOf('btree_root'),
  rewind: jsetEntryTypes.idOf('rewind'),
} as const;

/** Those that files are read from: each change of theirs has to be taken back. */
const FILE_BTREES: ReadonlySet<number> = new Set(
  (
    [
      'extents',
      'inodes',
      'dirents',
      'xattrs',
      'reflink',
      'subvolumes',
      'snapshots',
      'snapshot_trees',
    ] satisfies BtreeName[]
  ).map(name => btrees.idOf(name)),
);

/** What the journal still reaches. @throws UsageError without the key of an encrypted filesystem */
export function rewindReach(set: MemberSet, replay: ReplayState, key?: Uint8Array): RewindReach {
  return new Rewind(set, replay, key).reach();
}

/**
 * The state after an earlier entry, for reading.
 * @param onDamage called with overwrites that cannot be used: what they would take back is as it is now
 * @throws UsageError when the journal does not reach it
 */
export function rewound(
  set: MemberSet,
  replay: ReplayState,
  key: Uint8Array | undefined,
  seq: number,
  onDamage: (damage: Damage) => void,
): ReplayState {
  return new Rewind(set, replay, key).to(seq, onDamage);
}

interface Read {
  readonly entry: JournalEntry;
  readonly entries: readonly JsetEntry[];
}

class Rewind {
  readonly #set: MemberSet;
  readonly #replay: ReplayState;
  readonly #journal: JournalReading;
  /** Those that make up the present state and what led to it, oldest first. */
  readonly #entries: readonly JournalEntry[];

  constructor(set: MemberSet, replay: ReplayState, key: Uint8Array | undefined) {
    this.#set = set;
    this.#replay = replay;
    this.#journal = replay.journal ?? readJournal(set, key);
    this.#entries = this.#journal.entries.filter(
      ({ use, seq }) => use !== 'blacklisted' && seq <= replay.lastSeq && !replay.blacklist.has(seq),
    );
  }

  reach(): RewindReach {
    const last = this.#entries.at(-1);
    if (last === undefined || last.seq !== this.#replay.lastSeq) {
      return { points: [], limit: 'the newest entry is not in the journal any more', keptSince: undefined };
    }
    const points: RewindPoint[] = [];
    let newer = this.#read(last);
    const keptSince = this.#keptSince(newer);
    for (let i = this.#entries.length - 1; ; i--) {
      const { entry } = newer;
      points.push({ seq: entry.seq, seconds: secondsOf(newer), isFlush: entry.isFlush });
      const older = this.#entries[i - 1];
      if (older === undefined) return this.#ended(points, `entry ${entry.seq} is the oldest in the journal`, keptSince);
      const missing = this.#missingBetween(older.seq, entry.seq);
      if (missing !== undefined)
        return this.#ended(points, `entry ${missing} is not in the journal any more`, keptSince);
      const next = this.#read(older);
      const obstacle = this.#obstacle(newer, next);
      if (obstacle !== undefined) return this.#ended(points, `entry ${entry.seq} ${obstacle}`, keptSince);
      newer = next;
    }
  }

  #ended(points: RewindPoint[], limit: string, keptSince: number | undefined): RewindReach {
    return { points: points.toReversed(), limit, keptSince };
  }

  to(seq: number, onDamage: (damage: Damage) => void): ReplayState {
    const { points, limit } = this.reach();
    const [oldest] = points;
    if (oldest === undefined || seq < oldest.seq || seq > this.#replay.lastSeq) {
      const range = oldest === undefined ? 'nothing earlier' : `entries ${oldest.seq} to ${this.#replay.lastSeq}`;
      throw new UsageError(`journal entry ${seq} cannot be gone back to: ${limit}; the journal reaches ${range}`);
    }
    const overlay = new OverlayBuilder();
    // Over the nodes lie the keys of a replay, as now, but for those of files that are newer.
    if (this.#replay.journal !== undefined) {
      for (const entry of this.#entries) {
        if (entry.use !== 'replay') continue;
        for (const part of this.#read(entry).entries) {
          if (part.type !== TYPE.keys || (isTakenBack(part) && entry.seq > seq)) continue;
          for (const key of this.#keysOf(part, entry.seq, onDamage))
            overlay.add(part.btree_id, part.level, entry.seq, key);
        }
      }
    }
    // The newest first: what stood at a position before the oldest change of it comes last, and counts.
    for (const entry of this.#entries.toReversed()) {
      if (entry.seq <= seq) break;
      for (const part of this.#read(entry).entries.toReversed()) {
        if (part.type !== TYPE.overwrite || !isTakenBack(part)) continue;
        for (const key of this.#keysOf(part, entry.seq, onDamage).toReversed()) {
          overlay.add(part.btree_id, part.level, entry.seq, key);
        }
      }
    }
    return { ...this.#replay, overlay: overlay.finish() };
  }

  #read(entry: JournalEntry): Read {
    return { entry, entries: this.#journal.read(entry).entries };
  }

  #keysOf(part: JsetEntry, journalSeq: number, onDamage: (damage: Damage) => void): readonly Key[] {
    const place = { btree: part.btree_id, level: part.level };
    return journalKeys(part, place, keyContext(this.#set.newest.sb), (error, detail) => {
      onDamage(new CorruptError(error, { journalSeq, btree: btrees.nameOf(part.btree_id), level: part.level }, detail));
    });
  }

  /** A number between two entries that nothing is known of: not one that was never used. */
  #missingBetween(older: number, newer: number): number | undefined {
    // Ranges that are passed over are long; what is missing is found at once, or there are few numbers between.
    const { blacklist } = this.#replay;
    for (let seq = newer - 1; seq > older && newer - seq <= PASSED_OVER_MAX; seq--) if (!blacklist.has(seq)) return seq;
    return newer - older > PASSED_OVER_MAX + 1 ? newer - PASSED_OVER_MAX : undefined;
  }

  /** Why an entry cannot be taken back; undefined when it can. */
  #obstacle({ entry, entries }: Read, older: Read): string | undefined {
    if (entry.isBigEndian) return 'was written by a big-endian machine';
    if (!entry.checksumGood) return 'is damaged';
    if (entries.some(({ type }) => type === TYPE.rewind)) return 'is of a rewind itself';
    const before = new Set<string>();
    const changed: (readonly [number, Bpos])[] = [];
    for (const part of entries) {
      if (part.level !== 0 || !FILE_BTREES.has(part.btree_id)) continue;
      if (part.type !== TYPE.keys && part.type !== TYPE.overwrite) continue;
      for (const { k } of this.#keysOf(part, entry.seq, () => undefined)) {
        if (part.type === TYPE.overwrite) before.add(`${part.btree_id}:${bposText(k.p)}`);
        else changed.push([part.btree_id, k.p]);
      }
    }
    if (changed.some(([btree, pos]) => !before.has(`${btree}:${bposText(pos)}`)))
      return 'does not say what it overwrote';
    // A kernel that makes a root takes a bucket for it, which is a key.
    const hasKeys = entries.some(({ type }) => type === TYPE.keys);
    return !hasKeys && hasOtherRoots(entries, older.entries)
      ? 'has new btrees, and does not say what was in them before'
      : undefined;
  }

  #keptSince({ entries }: Read): number | undefined {
    for (const part of entries) {
      const value = momentOf(part);
      if (value?.type === 'rewind_limit') return value.seq;
    }
    return undefined;
  }
}

/** As long as what a crash lets a kernel pass over (see replay.ts), and some more of such in a row. */
const PASSED_OVER_MAX = 2 ** 16;

/** What a kernel takes back too: leaves, but for those of btrees that follow from others. */
const isTakenBack = ({ level, btree_id }: JsetEntry): boolean => level === 0 && FILE_BTREES.has(btree_id);

function secondsOf({ entries }: Read): bigint | undefined {
  for (const part of entries) {
    const value = momentOf(part);
    if (value?.type === 'datetime') return value.seconds;
  }
  return undefined;
}

function momentOf(part: JsetEntry): ReturnType<typeof decodeJsetEntry> {
  if (part.type !== DATETIME && part.type !== REWIND_LIMIT) return undefined;
  try {
    return decodeJsetEntry(part);
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return undefined; // Too short to say anything.
  }
}
const DATETIME = jsetEntryTypes.idOf('datetime');
const REWIND_LIMIT = jsetEntryTypes.idOf('rewind_limit');

function hasOtherRoots(entries: readonly JsetEntry[], older: readonly JsetEntry[]): boolean {
  const rootsOf = (parts: readonly JsetEntry[]) =>
    new Map(
      parts
        .filter(({ type, btree_id }) => type === TYPE.root && FILE_BTREES.has(btree_id))
        .map(part => [part.btree_id, part]),
    );
  const before = rootsOf(older);
  for (const [btree, root] of rootsOf(entries)) {
    const known = before.get(btree);
    if (known === undefined || known.level !== root.level || !isSameRoot(known.payload, root.payload)) return true;
  }
  return false;
}

/** The same node: nodes are told apart by the random number that they begin with. What a kernel notes in pointers beside it may change. */
function isSameRoot(a: Uint8Array, b: Uint8Array): boolean {
  const start = Bkey.size + BchBtreePtrV2.offset.seq;
  return areEqual(a.subarray(start, start + 8), b.subarray(start, start + 8));
}
