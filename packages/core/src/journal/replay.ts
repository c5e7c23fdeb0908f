// Where a filesystem stands: the roots of its btrees and the keys to replay over them, from the superblock's clean section after a clean
// shutdown, else from the journal; and which journal entries were lost, so that bsets that depend on them are left out. This is what
// reading a filesystem begins with, and nothing is written for it. Mirrors the first half of bch2_fs_recovery (recovery.c, v1.13.0
// and v1.36.1).

import { getBits } from '../ondisk/bits.ts';
import { BTREE_ID_MAX, BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import { CorruptError, IncompatibleError, type Location } from '../ondisk/errors.ts';
import { decodeJsetEntry, type JsetEntries, type JsetEntry } from '../ondisk/jset-entries.ts';
import { fsUsageTypes, jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyValidateContext } from '../ondisk/keys/kind.ts';
import type { LeftOut } from '../ondisk/left-out.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type Clean, decodeClean } from '../ondisk/sb-fields/clean.ts';
import { type Superblock, sectionPayload } from '../ondisk/superblock.ts';
import type { Finding } from '../report/finding.ts';
import { keyContext } from '../superblock/key-context.ts';
import type { MemberSet } from '../superblock/member-set.ts';
import { SeqBlacklist, type SeqRange } from './blacklist.ts';
import { type JournalEntry, type JournalReading, readJournal } from './journal.ts';
import { journalKeys } from './keys.ts';
import { type BtreeRoot, type JournalOverlay, NO_OVERLAY, OverlayBuilder } from './overlay.ts';
import { JournalProblems } from './problem.ts';

/** What goes on counting from one journal entry to the next. */
export interface JournalClocks {
  /** The greatest version that a key was given; nonces are made of it, so the next one must be greater. */
  readonly keyVersion: bigint;
  /** Sectors read and written in the filesystem's life: io_time of buckets counts in them. */
  readonly read: bigint;
  readonly write: bigint;
}

const NO_CLOCKS: JournalClocks = { keyVersion: 0n, read: 0n, write: 0n };

export interface ReplayState {
  /** What the roots come from; nothing is there yet in a filesystem that no kernel has completed. */
  readonly from: 'clean' | 'journal' | 'uninitialized';
  /** By btree id; ids that are not known here too. */
  readonly roots: ReadonlyMap<number, BtreeRoot>;
  readonly overlay: JournalOverlay;
  readonly clocks: JournalClocks;
  /** Journal entries that were lost: bsets of such a journal_seq do not count. */
  readonly blacklist: SeqBlacklist;
  /** The newest journal entry that counts; a clean filesystem's last one. */
  readonly lastSeq: number;
  /** Undefined when the journal was not read: the filesystem is clean. */
  readonly journal: JournalReading | undefined;
  /** What is wrong, the journal's own problems included. */
  readonly problems: readonly Finding[];
  /** Changes that could not be replayed. */
  readonly leftOut: readonly LeftOutOfJournal[];
}

export interface LeftOutOfJournal {
  readonly btree: number;
  readonly level: number;
  readonly leftOut: LeftOut;
}

/**
 * How many numbers a recovery passes over for entries that were being written at the crash (v1.39.2; 8 at v1.13.0, 64 at v1.36.1).
 * Nothing whole can have such a number, so that the greatest serves all.
 */
const SEQS_SKIPPED_AFTER_CRASH = 4096;

const TYPE = {
  btreeKeys: jsetEntryTypes.idOf('btree_keys'),
  btreeRoot: jsetEntryTypes.idOf('btree_root'),
  blacklist: jsetEntryTypes.idOf('blacklist'),
  blacklistV2: jsetEntryTypes.idOf('blacklist_v2'),
  rewind: jsetEntryTypes.idOf('rewind'),
  usage: jsetEntryTypes.idOf('usage'),
  dataUsage: jsetEntryTypes.idOf('data_usage'),
  devUsage: jsetEntryTypes.idOf('dev_usage'),
  clock: jsetEntryTypes.idOf('clock'),
} as const;

const KEY_VERSION = fsUsageTypes.idOf('key_version');

const ROOT_TYPES: readonly number[] = [keyTypes.idOf('btree_ptr'), keyTypes.idOf('btree_ptr_v2')];

/**
 * Reads what a mount would know before it looks at the btrees.
 * @param key the master key of an encrypted filesystem
 * @throws CorruptError dirty_but_no_journal_entries when there is neither a clean section nor a journal entry
 * @throws UsageError, IncompatibleError as readJournal does
 */
export function readReplayState(set: MemberSet, key?: Uint8Array): ReplayState {
  const { sb } = set.newest;
  const problems = new JournalProblems();
  if (getBits(sb.flags, sbBits.INITIALIZED) === 0) return NO_REPLAY;
  const clean = getBits(sb.flags, sbBits.CLEAN) === 1 ? cleanOf(sb, problems) : undefined;
  return clean === undefined ? stateOfJournal(sb, readJournal(set, key), problems) : stateOfClean(sb, clean, problems);
}

/** A filesystem of superblocks only: the first mount makes the rest. */
export const NO_REPLAY: ReplayState = {
  from: 'uninitialized',
  roots: new Map(),
  overlay: NO_OVERLAY,
  clocks: NO_CLOCKS,
  blacklist: new SeqBlacklist([]),
  lastSeq: 0,
  journal: undefined,
  problems: [],
  leftOut: [],
};

/** The clean section, when it is whole. */
function cleanOf(sb: Superblock, problems: JournalProblems): Clean | undefined {
  const payload = sectionPayload(sb, 'clean');
  if (payload === undefined) {
    problems.add('sb_clean_missing', { field: 'clean' }, 'the superblock says clean and has no clean section');
    return undefined;
  }
  try {
    const clean = decodeClean(payload);
    if (clean.damage === undefined) return clean;
    problems.add('sb_clean_entry_overrun', { field: 'clean' }, clean.damage.detail);
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    problems.addError(thrown, { field: 'clean' });
  }
  return undefined;
}

/** The roots that a superblock names which says that its filesystem is clean; none of any other. */
export function cleanRoots(sb: Superblock): readonly BtreeRoot[] {
  if (getBits(sb.flags, sbBits.CLEAN) === 0) return [];
  const problems = new JournalProblems();
  const clean = cleanOf(sb, problems);
  return clean === undefined ? [] : [...stateOfClean(sb, clean, problems).roots.values()];
}

function stateOfClean(sb: Superblock, clean: Clean, problems: JournalProblems): ReplayState {
  const replay = new Replay(keyContext(sb), problems);
  replay.entries(clean.entries, undefined, { field: 'clean' });
  return {
    from: 'clean',
    roots: replay.roots,
    overlay: NO_OVERLAY,
    clocks: replay.clocks,
    blacklist: SeqBlacklist.of(sb).with(replay.blacklisted),
    lastSeq: clean.journal_seq,
    journal: undefined,
    problems: problems.list,
    leftOut: [],
  };
}

function stateOfJournal(sb: Superblock, journal: JournalReading, problems: JournalProblems): ReplayState {
  const used = entriesToReplay(journal);
  const last = used.at(-1);
  if (last === undefined) {
    throw new CorruptError(
      'dirty_but_no_journal_entries',
      {},
      'the filesystem is not clean, and no journal entry was found',
    );
  }
  const replay = new Replay(keyContext(sb), problems);
  for (const entry of used) {
    const where = { journalSeq: entry.seq };
    if (entry.isBigEndian) throw new IncompatibleError('big_endian', where, 'written by a big-endian machine');
    const { entries, damage }: JsetEntries = journal.read(entry);
    if (damage !== undefined) problems.addError(damage, where);
    replay.entries(entries, entry.seq, where);
  }
  const skipped = { start: last.seq + 1, end: journal.nextSeq + SEQS_SKIPPED_AFTER_CRASH };
  return {
    from: 'journal',
    roots: replay.roots,
    overlay: replay.overlay.finish(),
    clocks: replay.clocks,
    blacklist: journal.blacklist.with([...replay.blacklisted, skipped]),
    lastSeq: last.seq,
    journal,
    problems: [...journal.problems, ...problems.list],
    leftOut: replay.leftOut,
  };
}

/** What a replay uses; where nothing was flushed, the newest entry is the best there is. */
function entriesToReplay({ entries }: JournalReading): readonly JournalEntry[] {
  const used = entries.filter(entry => entry.use === 'replay');
  return used.length > 0 ? used : entries.slice(-1);
}

/** Takes sub-entries in the order of the journal. */
class Replay {
  readonly roots = new Map<number, BtreeRoot>();
  readonly overlay = new OverlayBuilder();
  readonly blacklisted: SeqRange[] = [];
  readonly leftOut: LeftOutOfJournal[] = [];
  clocks = NO_CLOCKS;
  readonly #context: KeyValidateContext;
  readonly #problems: JournalProblems;

  constructor(context: KeyValidateContext, problems: JournalProblems) {
    this.#context = context;
    this.#problems = problems;
  }

  /** @param seq undefined for those of the clean section, which holds no keys to replay */
  entries(entries: readonly JsetEntry[], seq: number | undefined, where: Location): void {
    for (const entry of entries) {
      switch (entry.type) {
        case TYPE.btreeRoot:
          this.#root(entry, seq, where);
          break;
        case TYPE.btreeKeys:
          if (seq !== undefined) this.#keys(entry, seq, where);
          break;
        case TYPE.blacklist:
        case TYPE.blacklistV2:
          this.#blacklist(entry, where);
          break;
        case TYPE.usage:
        case TYPE.clock:
          this.#clock(entry, where);
          break;
        case TYPE.rewind:
          // A rewind that a crash cut short goes on with the keys that were overwritten, which nothing here does.
          throw new IncompatibleError(
            'journal_rewind',
            where,
            'the journal is being rewound; let a kernel finish that',
          );
        case TYPE.dataUsage:
        case TYPE.devUsage:
          this.#judge(entry, where);
          break;
      }
      // write_buffer_keys are btree_keys by the time that an entry is written; overwrite, log and the others are not updates.
    }
  }

  #keysOf(entry: JsetEntry, levelAbove: 0 | 1, where: Location) {
    const judgedAt = { btree: entry.btree_id, level: entry.level + levelAbove };
    return journalKeys(entry, judgedAt, this.#context, (error, detail, what) => {
      this.#problems.add(error, { ...where, btree: btrees.nameOf(entry.btree_id), level: entry.level }, detail);
      if (levelAbove > 0) return;
      const reason = `${error}: ${detail}`;
      const leftOut = what instanceof Uint8Array ? { reason, bytes: what } : { reason, key: what };
      this.leftOut.push({ btree: entry.btree_id, level: entry.level, leftOut });
    });
  }

  #keys(entry: JsetEntry, seq: number, where: Location): void {
    for (const key of this.#keysOf(entry, 0, where)) this.overlay.add(entry.btree_id, entry.level, seq, key);
  }

  #root(entry: JsetEntry, seq: number | undefined, where: Location): void {
    const { btree_id: btree, level } = entry;
    if (btree >= BTREE_ID_MAX) {
      this.#problems.add('invalid_btree_id', where, `btree id ${btree}, expected below ${BTREE_ID_MAX}`);
      return;
    }
    const keys = this.#keysOf(entry, 1, where);
    const [key] = keys;
    const isRoot = keys.length === 1 && key !== undefined && ROOT_TYPES.includes(key.k.type) && level < BTREE_MAX_DEPTH;
    if (!isRoot) {
      const found = `${keys.length} sound keys at level ${level}`;
      const place = { ...where, btree: btrees.nameOf(btree), level };
      this.#problems.add('journal_entry_btree_root_bad_size', place, `${found}, a root is one pointer`);
    }
    this.roots.set(btree, { btree, level, key: isRoot ? key : undefined, seq });
  }

  /** A later entry counts more; the key version never goes back. */
  #clock(entry: JsetEntry, where: Location): void {
    try {
      const value = decodeJsetEntry(entry);
      const { clocks } = this;
      if (value?.type === 'clock') this.clocks = { ...clocks, [value.rw === 0 ? 'read' : 'write']: value.time };
      else if (value?.type === 'usage' && value.usage === KEY_VERSION && value.v > clocks.keyVersion) {
        this.clocks = { ...clocks, keyVersion: value.v };
      }
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      this.#problems.addError(thrown, where);
    }
  }

  /** What is in it is counted anew in any case. */
  #judge(entry: JsetEntry, where: Location): void {
    try {
      decodeJsetEntry(entry);
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      this.#problems.addError(thrown, where);
    }
  }

  #blacklist(entry: JsetEntry, where: Location): void {
    try {
      const value = decodeJsetEntry(entry);
      if (value?.type === 'blacklist') this.blacklisted.push({ start: value.seq, end: value.seq + 1 });
      else if (value?.type === 'blacklist_v2') this.blacklisted.push({ start: value.start, end: value.end + 1 });
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      this.#problems.addError(thrown, where);
    }
  }
}
