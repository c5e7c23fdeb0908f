// A filesystem open for writing: it commits transactions, one after the other, each wholly or not at all.
//
// The order of a commit. What may be lost at any point is what comes after it:
//   1. New nodes are written where nothing is.
//   2. The superblock stops saying that the filesystem is clean, and says what the new state needs it to say (replicas entries, where
//      btree nodes may be). The newest journal entry is the old state; if a clean filesystem's journal lacks it, it is written first.
//      Every member is flushed, and with the superblock its nodes.
//   3. One journal entry with all roots is written to another bucket than the old one. Flush: this is the commit.
//   4. The superblock says clean again, with the same roots.
// A crash before 3 leaves the old state, a crash after it the new one, and every kernel mounts either.
//
// A change that is too large for memory is staged: its parts are written as in 1, one after the other, and each is what the next begins
// with; but nothing on the devices leads to them before the commit, which is one as any other. What the committed state holds is not
// used again meanwhile, so that a crash, an error or a second thought leaves the old state, whatever has been staged.
//
// Source: bch2_fs_mark_dirty and bch2_fs_mark_clean in sb-clean.c, bch2_journal_pos_from_member_info_set in journal_io.c, v1.13.0.

import { journalDevices } from '../alloc/alloc-devices.ts';
import { bucketPos } from '../alloc/bucket-indexes.ts';
import { bucketStateOf, isEmptyType, isUnused, TYPE, untouchedBucket } from '../alloc/bucket-state.ts';
import { countersOf } from '../alloc/reserve.ts';
import { SuperblockNeeds } from '../alloc/superblock-needs.ts';
import { checkWritable } from '../alloc/write-gate.ts';
import { type BuiltBtree, buildBtree } from '../btree/build.ts';
import { CommitPlan, type NodesToRewrite, type WrittenNodes } from '../btree/commit.ts';
import { FreshSeqs, nodeSeqOf } from '../btree/fresh-seqs.ts';
import { NODE_CACHE_BYTES } from '../btree/node-cache.ts';
import type { NodeAllocator, NodeStoreSettings } from '../btree/node-store.ts';
import { deletedKey, Transaction, type Triggers } from '../btree/transaction.ts';
import { JOURNAL_SEQ_LIMIT, KEY_VERSION_LIMIT, randomDistance } from '../crypto/random-distance.ts';
import { KeyVersions } from '../data/key-versions.ts';
import { writeHeadLast } from '../device/head-last.ts';
import { SeqBlacklist, type SeqRange } from '../journal/blacklist.ts';
import { type JournalReading, readJournal } from '../journal/journal.ts';
import { type BtreeRoot, NO_OVERLAY, overlayWithout } from '../journal/overlay.ts';
import { type JournalClocks, type ReplayState, readReplayState } from '../journal/replay.ts';
import {
  datetimeEntry, encodeJset, type JournalSlot, journalSlots, metaChecksumType, stateEntries,
} from '../journal/write.ts'; // biome-ignore format: one line of names
import { getBits, withBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { btreeNodeMagic } from '../ondisk/btree-node.ts';
import { BTREE_ID_MAX, type BtreeName, btrees } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { assert, CorruptError, IncompatibleError, NoSpaceError, UsageError } from '../ondisk/errors.ts';
import { compatFeatures, FEATURES_ALWAYS, incompatFeatures } from '../ondisk/features.ts';
import type { ReplicasEntry } from '../ondisk/replicas-entry.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { encodeClean } from '../ondisk/sb-fields/clean.ts';
import { journalSeqBlacklistField } from '../ondisk/sb-fields/journal-seq-blacklist.ts';
import { memberAt, members, withMembers } from '../ondisk/sb-fields/members.ts';
import { replicas } from '../ondisk/sb-fields/replicas.ts';
import { type BchSbLayout, type Superblock, withSection } from '../ondisk/superblock.ts';
import { Filesystem } from '../opened/filesystem.ts';
import {
  type EditSuperblockOptions,
  editSuperblock,
  type NewJournals,
  refuseEdit,
  refuseUnfit,
} from '../superblock/edit.ts';
import {
  isReplaced,
  type MemberSet,
  memberSetOf,
  memberText,
  missingText,
  openMember,
} from '../superblock/member-set.ts';
import { encryptionOf } from '../superblock/passphrase.ts';
import { withCheckRequired } from '../superblock/require-check.ts';
import { isAllocInfoStripped } from '../superblock/strip-alloc.ts';
import type { RandomSource } from '../util/random.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { assertEntriesKept } from './commit-assertions.ts';

/** More than the roots of all btrees of 1.13 take, each with four replicas, and no more than the smallest bucket that a kernel takes. */
const ENTRY_BYTES = 4096;

/** After a crash, numbers of entries that may have been on their way are passed over. */
const SEQS_SKIPPED = 64;

export interface WriterOptions {
  /** The master key of an encrypted filesystem. */
  readonly key?: Uint8Array | undefined;
  readonly random: RandomSource;
  /** Seconds since 1970. */
  readonly now: () => bigint;
  /** Go on with what a damaged journal still says: the first commit makes its losses final, and the next mount checks everything. */
  readonly allowDamagedJournal?: boolean;
  /**
   * For a repair: roots, the journal and what is derived may be lost or wrong, and the first commit makes whole what the next mount needs.
   * Who repairs sees to it that all of that is built anew before (`build`), and says which buckets are in use (`holdInstead`).
   */
  readonly isRepair?: boolean;
  /** It is only being made: nothing was encrypted with its key but what is there, and its numbers go on from one to the next. */
  readonly isNew?: boolean;
  /** Values are taken as they stand: for damage on purpose, beside which invalid keys are kept. */
  readonly unvalidated?: boolean;
  /** They are built anew before the first commit, so that their roots may be lost. */
  readonly rebuilt?: readonly BtreeName[];
  /**
   * Go on although members are missing, as a kernel does when it mounts degraded: they keep what they have, nothing new goes there, and keys
   * that name them stay as they are.
   */
  readonly allowMissing?: boolean | undefined;
}

/** A part of a change, or all of it. */
export interface StageRequest {
  readonly tx: Transaction;
  readonly allocator: NodeAllocator;
  /** When all changes are known and nothing was written: throws what stands against them. */
  readonly check?: () => void;
  /** What the superblock has to say before the new state counts. Called when all changes are known. */
  readonly superblock: (sb: Superblock) => Superblock;
  /** Where the counters have come to; the old ones when left out. */
  readonly clocks?: JournalClocks;
}

export interface CommitRequest extends StageRequest {
  /** What it says once the new state counts: the last thing that is written. */
  readonly superblockAfter?: (sb: Superblock) => Superblock;
  /** Where a member's superblock copies are once the new state counts, by its index. */
  readonly layoutsAfter?: ReadonlyMap<number, BchSbLayout>;
  /** Called with the new roots when the plan stands and nothing is written yet. */
  readonly checkRoots?: (roots: WrittenNodes['roots']) => void;
  /** Nodes that get a new place although nothing in them changes. */
  readonly rewrite?: NodesToRewrite;
  /** Members that leave once the new state counts, by what `superblockAfter` says: their superblocks are left as they are then. */
  readonly leaving?: ReadonlySet<number>;
}

export interface CommitReport extends Omit<WrittenNodes, 'roots'> {
  /** The journal entry that is the commit. */
  readonly seq: number;
}

export class FilesystemWriter {
  readonly #options: WriterOptions;
  #filesystem: Filesystem;
  /** How far the next journal entry is from those before it. On an encrypted filesystem its number is its nonce. */
  #seqDistance = 1;
  readonly keyVersions: KeyVersions;
  #committed: Filesystem;
  readonly #seqs: FreshSeqs;
  /** Btrees that may not be committed as they are. */
  #toBuild: readonly number[];
  #staged: StagedParts = NOTHING_STAGED;
  #held: ((dev: number, bucket: number) => boolean) | undefined;
  /** What the journal holds, once it was read. */
  #reading: JournalReading | undefined;
  /** The transaction that the next commit may take. */
  #begun: Transaction | undefined;
  /** A commit is under way, or something stopped it: what is in memory need not be what is on the devices. */
  #isUnfinished = false;

  /**
   * @param set all members, open for writing
   * @throws IncompatibleError for versions that are not written, UsageError when members are missing (`allowMissing`: when metadata is only
   * there), and what reading throws
   * @throws DeviceError when a member cannot take what will be written; CorruptError when a kernel would refuse the superblock
   * @throws CorruptError when the journal is damaged: what it says may not be all that was; and, even if that is allowed, when a root is lost
   */
  constructor(set: MemberSet, options: WriterOptions) {
    this.#options = options;
    refuseUnwritable(set, options);
    this.#filesystem = filesystemWith(set, options.key, options);
    if (options.isRepair !== true) refuseLostMetadata(this.#filesystem);
    const { replay } = this.#filesystem;
    const rebuilt = (options.rebuilt ?? []).map(name => btrees.idOf(name));
    if (options.isRepair !== true)
      refuseDamaged(this.#filesystem, options.allowDamagedJournal ?? false, new Set(rebuilt));
    this.#toBuild = rebuilt;
    this.#committed = this.#filesystem;
    const roots = [...replay.roots.values()].flatMap(({ key }) => (key === undefined ? [] : [nodeSeqOf(key)]));
    this.#seqs = new FreshSeqs(options.random, { taken: roots, state: replay.lastSeq });
    let versionDistance = 1n;
    if (this.#isEncrypted && options.isNew !== true) {
      const { random } = options;
      versionDistance = randomDistance(random, replay.clocks.keyVersion, KEY_VERSION_LIMIT);
      this.#seqDistance = Number(randomDistance(random, BigInt(replay.lastSeq), JOURNAL_SEQ_LIMIT));
    }
    this.keyVersions = new KeyVersions(replay.clocks.keyVersion, versionDistance);
  }

  /** The filesystem as it was committed last, with what has been staged since: what the next transaction is over. */
  get filesystem(): Filesystem {
    return this.#filesystem;
  }

  /** A commit was begun and did not come to its end: the devices hold the old state or the new one. */
  get isUnfinished(): boolean {
    return this.#isUnfinished;
  }

  get #isEncrypted(): boolean {
    return getBits(this.#filesystem.sb.flags, sbBits.ENCRYPTION_TYPE) !== 0;
  }

  /**
   * Whether the filesystem on the devices has something in a bucket. Until the commit it is not to be used again, also when what has
   * been staged has emptied it.
   */
  isHeld(dev: number, bucket: number): boolean {
    if (this.#held !== undefined) return this.#held(dev, bucket);
    const key = this.#committed.btree('alloc').get(bucketPos(dev, bucket));
    return key !== undefined && !isUnused(bucketStateOf(key));
  }

  /** Another root for a btree, or none: nothing is on the devices before the next commit, and nothing has been staged yet. */
  replaceRoot(btree: number, root: BtreeRoot | undefined): void {
    const { replay } = this.#filesystem;
    const roots = new Map(replay.roots);
    if (root === undefined) roots.delete(btree);
    else roots.set(btree, root);
    this.#filesystem = this.#filesystem.at({ ...replay, roots });
  }

  /** The members with other superblocks than they have: a repair has corrected them before it begins. They are written with its commit. */
  correctMembers(set: MemberSet): void {
    this.#refuseUnfinished();
    this.#filesystem = filesystemWith(set, this.#filesystem.key, this.#options);
    this.#committed = this.#filesystem;
    this.#staged = NOTHING_STAGED;
    this.#reading = undefined;
  }

  /** Until the next commit this says what `isHeld` says: for a repair of alloc keys, which cannot be asked. */
  holdInstead(isHeld: (dev: number, bucket: number) => boolean): void {
    this.#held = isHeld;
  }

  /** The next transaction is over the filesystem on the devices: what has been staged is given up. */
  dropStaged(): void {
    this.#refuseUnfinished();
    this.#filesystem = this.#committed;
    this.#staged = NOTHING_STAGED;
  }

  /**
   * A new transaction over `filesystem`. What its journal has to replay is part of it. One that was begun before is dropped: both would
   * take the same room.
   * @throws UsageError after a commit that failed
   */
  begin(triggers: Triggers): Transaction {
    this.#refuseUnfinished();
    const { replay } = this.#filesystem;
    const tx = new Transaction(this.#filesystem, triggers);
    for (let btree = 0; btree < BTREE_ID_MAX; btree++) {
      for (const { key, deltas } of replay.overlay.keysOf(btree, 0)) {
        // Counters that are added up: what reading gives is the sum.
        const sum = deltas === undefined ? key : this.#filesystem.btree(btree).get(key.k.p);
        tx.replay(btree, sum ?? deletedKey(key.k.p));
      }
    }
    this.#begun = tx;
    return tx;
  }

  /**
   * The number that the journal entry of the next commit will have, at the least.
   * @throws UsageError after a commit that failed
   */
  get nextSeq(): number {
    this.#refuseUnfinished();
    return this.#nextSeq(this.#journal());
  }

  /**
   * Changes nothing but the superblocks, of all members. A transaction that was begun is dropped.
   * @throws as editSuperblock does; DeviceError at any point: this writer then takes no more
   */
  editSuperblocks(edit: (sb: Superblock) => Superblock, extent: Pick<EditExtent, 'journals'> = {}): void {
    this.#refuseUnfinished();
    assert(this.#filesystem === this.#committed, 'nothing is staged');
    this.#begun = undefined;
    this.#refuseEdit(edit, extent);
    this.#isUnfinished = true;
    this.#edit(edit, extent);
    if (extent.journals !== undefined) {
      // Where an entry is, is said by its place in the list.
      this.#reading = undefined;
      const { set, key } = this.#filesystem;
      this.#filesystem = filesystemWith(set, key, this.#options);
    }
    this.#isUnfinished = false;
    this.#committed = this.#filesystem;
  }

  /**
   * Builds a btree anew from its keys and puts it in the place of what is there, which may be damaged or lost; what the journal has for it
   * is given up. Afterwards `filesystem` has it, as if it had been staged. What its nodes mean for alloc and the rest, and those that
   * it replaces, is for the next transaction to say, before the commit: see replaceBtrees. A transaction that was begun is dropped.
   * @param keys as buildBtree takes them: everything that the btree shall hold
   * @param allocator gives room that nothing of the filesystem on the devices takes, and does not give it again until the commit
   * @param generation see BuildSettings
   * @throws as buildBtree does; the filesystem is then what it was
   */
  build(btree: number, keys: Iterable<Key>, allocator: NodeAllocator, generation: number): BuiltBtree {
    this.#refuseUnfinished();
    this.#begun = undefined;
    const seq = this.#nextSeq(this.#journal());
    const built = buildBtree(btree, keys, allocator, { ...this.#nodeSettings(), generation });
    const { replay } = this.#filesystem;
    this.#filesystem = this.#filesystem.at({
      ...replay,
      roots: withRoots(replay, new Map([[btree, built.root]]), seq),
      overlay: overlayWithout(replay.overlay, btree),
    });
    this.#staged = {
      ...this.#staged,
      built: [...this.#staged.built, btree],
      nodeCount: this.#staged.nodeCount + built.nodes.length,
      sizeBytes: this.#staged.sizeBytes + built.sizeBytes,
    };
    return built;
  }

  /**
   * Writes the nodes of a transaction, which is a part of what the next commit will commit. Afterwards `filesystem` has it, the
   * transaction is used up, and on the devices nothing has changed that counts.
   * @throws NoSpaceError, CorruptError before anything was written; DeviceError at any point. What was staged before can then only be
   * given up
   */
  stage(request: StageRequest): void {
    const { roots: newRoots, nodeCount, sizeBytes } = this.#plan(request).write();
    const { replay } = this.#filesystem;
    const roots = withRoots(replay, newRoots, this.#nextSeq(this.#journal()));
    this.#staged = {
      ...this.#staged,
      superblocks: [...this.#staged.superblocks, request.superblock],
      nodeCount: this.#staged.nodeCount + nodeCount,
      sizeBytes: this.#staged.sizeBytes + sizeBytes,
    };
    const clocks = request.clocks ?? replay.clocks;
    // What the journal has to replay was part of the first transaction.
    this.#filesystem = this.#filesystem.at({ ...replay, roots, clocks, overlay: NO_OVERLAY });
  }

  /**
   * Writes a transaction, and with it what has been staged. Its base is `filesystem`; afterwards there is a new one, and the transaction
   * is used up.
   * @throws NoSpaceError, CorruptError before anything was written that counts; DeviceError at any point: the filesystem is then in the
   * old state or in the new one, which opening it anew shows, and this writer takes no more
   */
  commit(request: CommitRequest): CommitReport {
    const unbuilt = this.#toBuild.filter(btree => !this.#staged.built.includes(btree)).map(btrees.nameOf);
    assert(unbuilt.length === 0, `what was to be built anew was built, ${unbuilt.join(', ')} too`);
    const plan = this.#plan(request);
    const filesystem = this.#filesystem;
    const { key, replay } = filesystem;
    const { roots: oldRoots, clocks: oldClocks } = this.#committed.replay;
    const clocks = request.clocks ?? replay.clocks;
    const superblock = (sb: Superblock) =>
      [...this.#staged.superblocks, request.superblock].reduce((edited, edit) => edit(edited), sb);
    let seq = this.#nextSeq(this.#journal());
    const isClean = replay.from === 'clean';
    const keepFrom = firstNeeded(this.#journal(), replay.lastSeq);
    // Before anything is written; the members do not change later.
    const firstPlaces = this.#places(this.#journal(), keepFrom);
    const members = firstPlaces.map(({ member }) => member);
    const markDirty = (old: Superblock) => {
      const dirty = markedDirty(superblock(old), isClean ? undefined : { start: replay.lastSeq + 1, end: seq });
      const isToCheck = replay.problems.length > 0 && this.#options.isRepair !== true;
      const judged = isToCheck ? withCheckRequired(dirty) : dirty;
      return withJournalReplicas(judged, members);
    };
    const markClean = (old: Superblock, roots: readonly BtreeRoot[], places: readonly JournalSlot[]) => {
      const clean = markedClean(old, roots, clocks, seq, places);
      return request.superblockAfter?.(clean) ?? clean;
    };
    const plannedRoots = plan.roots();
    request.checkRoots?.(plannedRoots);
    const planned = sortedRoots(withRoots(replay, plannedRoots, seq));
    this.#entry(planned, clocks, seq);
    this.#refuseEdit(markDirty);
    const last = { layouts: request.layoutsAfter, leaving: request.leaving };
    this.#refuseEdit(old => markClean(markDirty(old), planned, firstPlaces), last);
    this.#isUnfinished = true;
    const { roots: newRoots, nodeCount, sizeBytes } = plan.write();
    if (isClean && !hasState(this.#journal(), replay.lastSeq)) {
      const places = this.#places(this.#journal(), 0);
      if (this.#isEncrypted) {
        // The entry that is lost was encrypted with its number, and need not have said the same: the state gets another one.
        const stateSeq = seq++;
        this.#edit(old => markedClean(old, sortedRoots(oldRoots), oldClocks, stateSeq, places));
        this.#writeEntry(places, oldRoots.values(), oldClocks, stateSeq);
      } else this.#writeEntry(places, oldRoots.values(), oldClocks, replay.lastSeq);
      this.#reading = readJournal(filesystem.set, key);
    }
    this.#edit(markDirty);
    const roots = sortedRoots(withRoots(replay, newRoots, seq));
    const places = this.#places(this.#journal(), keepFrom);
    assertEntriesKept(places, this.#journal(), keepFrom);
    this.#writeEntry(places, roots, clocks, seq);
    this.#reading = undefined;
    this.#edit(old => markClean(old, roots, places), last);
    const staged = this.#staged;
    this.#seqDistance = 1;
    this.#filesystem = filesystemWith(this.#filesystem.set, key, this.#options);
    this.#committed = this.#filesystem;
    this.#staged = NOTHING_STAGED;
    this.#toBuild = [];
    this.#held = undefined;
    this.#isUnfinished = false;
    return { seq, nodeCount: staged.nodeCount + nodeCount, sizeBytes: staged.sizeBytes + sizeBytes };
  }

  /** What becomes of the nodes. Nothing was written yet. @throws what stands against it */
  #plan({ tx, allocator, check, rewrite }: StageRequest & Pick<CommitRequest, 'rewrite'>): CommitPlan {
    this.refuseOther(tx);
    this.#begun = undefined;
    const filesystem = this.#filesystem;
    const plan = new CommitPlan(
      tx,
      { btree: id => filesystem.btree(id), overlay: filesystem.replay.overlay },
      allocator,
      { ...this.#nodeSettings(), replicas: metadataReplicas(filesystem.sb), rewrite },
    );
    check?.();
    return plan;
  }

  #nodeSettings(): NodeStoreSettings {
    const filesystem = this.#filesystem;
    const { sb, key } = filesystem;
    return {
      magic: btreeNodeMagic(sb.uuid),
      version: sb.version,
      csumType: metaChecksumType(sb),
      key,
      blockSectors: sb.block_size,
      nodeSectors: getBits(sb.flags, sbBits.BTREE_NODE_SIZE),
      device: index => filesystem.device(index),
      randomU64: this.#options.unvalidated === true ? () => this.#seqs.any() : () => this.#seqs.next(),
      mayRepeatSeqs: this.#options.random.isReproducible === true,
    };
  }

  /** @throws UsageError after a commit that failed; InvariantError for a transaction that was dropped or used up */
  refuseOther(tx: Transaction): void {
    this.#refuseUnfinished();
    assert(tx === this.#begun, 'the transaction is the one that was begun last, and not yet committed');
  }

  /**
   * After a failed flush it is not known what the devices hold; and where the failure came after the journal entry, going on from the old
   * state would write over the new one.
   */
  #refuseUnfinished(): void {
    if (this.#isUnfinished)
      throw new UsageError('the last commit was not finished: open the filesystem again to see where it stands');
  }

  #journal(): JournalReading {
    const { set, key, replay } = this.#filesystem;
    this.#reading ??= replay.journal ?? readJournal(set, key);
    return this.#reading;
  }

  #nextSeq(journal: JournalReading): number {
    const { replay } = this.#filesystem;
    const isAhead = replay.from === 'clean' && journal.nextSeq > replay.lastSeq + 1;
    if (isAhead && this.#options.isRepair !== true) {
      const detail = `the superblock is clean at journal entry ${replay.lastSeq}, the journal goes on to ${journal.nextSeq - 1}`;
      throw new CorruptError('clean_but_journal_not_empty', {}, detail);
    }
    const next = Math.max(replay.lastSeq, journal.nextSeq - 1) + this.#seqDistance;
    return replay.from === 'clean' ? next : next + SEQS_SKIPPED;
  }

  /** Whether `#edit` could do it. */
  #refuseEdit(edit: (sb: Superblock) => Superblock, extent: EditExtent = {}): void {
    refuseEdit(staying(this.#filesystem.set, extent.leaving), edit, this.#editOptions(extent));
  }

  #editOptions({ layouts, leaving, journals }: EditExtent): EditSuperblockOptions {
    const { now, allowMissing = false } = this.#options;
    const isSome = leaving !== undefined && leaving.size > 0;
    return {
      now: now(),
      allowMissing: allowMissing || isSome,
      ...(layouts === undefined ? {} : { layouts }),
      ...(journals === undefined ? {} : { journals }),
    };
  }

  /** A new superblock on every member that stays one, which is then the newest. */
  #edit(edit: (sb: Superblock) => Superblock, extent: EditExtent = {}): void {
    const set = staying(this.#filesystem.set, extent.leaving);
    editSuperblock(set, edit, this.#editOptions(extent));
    const reread = memberSetOf(set.members.map(({ device }) => openMember(device)));
    const { replay, key } = this.#filesystem;
    this.#filesystem = new Filesystem(reread, replay, key);
  }

  /**
   * Where the next entry goes: to as many members as metadata has replicas, as far as they have a bucket to spare.
   * @param keepFrom entries from this number on are still needed
   */
  #places(journal: JournalReading, keepFrom: number): readonly JournalSlot[] {
    const { set, sb } = this.#filesystem;
    const chosen = new Set(journalDevices(sb, index => !set.missing.includes(index)).map(({ index }) => index));
    const places = journalSlots(set, journal, ENTRY_BYTES, keepFrom).filter(({ member }) => chosen.has(member));
    // A repair has looked at all of the journal before it began (recovery/contested-journal.ts).
    if (this.#options.isRepair !== true) for (const place of places) this.#refuseContested(place);
    if (places.length > 0) return places;
    throw new NoSpaceError(
      'no journal bucket is free for the entry that commits the change: a mount or fsck empties some',
      'journal_full',
    );
  }

  /** @throws CorruptError where an entry would overwrite what the alloc keys have in its bucket */
  #refuseContested({ device, member, sector }: JournalSlot): void {
    const size = memberAt(this.#committed.sb, member)?.bucket_size ?? 0;
    const bucket = Math.floor(sector / size);
    // Built anew, they may be lost on the devices.
    const known = this.#staged.built.includes(ALLOC) ? this.#filesystem : this.#committed;
    const key = known.btree('alloc').get(bucketPos(member, bucket));
    const { dataType } = key === undefined ? untouchedBucket() : bucketStateOf(key);
    if (dataType === TYPE.journal || isEmptyType(dataType)) return;
    const detail = `bucket ${bucket} is not the journal's alone, ${dataTypes.byId(dataType)?.name ?? `type ${dataType}`} data is in it: run fsck`;
    throw new CorruptError('invalid_sb_journal', { device: device.name, field: 'journal' }, detail);
  }

  #writeEntry(places: readonly JournalSlot[], roots: Iterable<BtreeRoot>, clocks: JournalClocks, seq: number): void {
    const jset = this.#entry(roots, clocks, seq);
    // Of an entry whose checksum is wrong, a kernel believes the number of the oldest entry that is needed, and forgets those before it
    // (journal_entry_add in journal_io.c, v1.13.0): the old state with the rest, if this one were torn after its header.
    for (const { device, sector } of places) writeHeadLast(device, sectorsToBytes(sector), jset);
    for (const { device } of places) device.flush();
  }

  /** @throws IncompatibleError when it is larger than a bucket may be small */
  #entry(roots: Iterable<BtreeRoot>, clocks: JournalClocks, seq: number): Uint8Array {
    const { sb, key } = this.#filesystem;
    const jset = encodeJset(sb, key, seq, [...stateEntries(roots, clocks), datetimeEntry(this.#options.now())]);
    if (jset.length > ENTRY_BYTES) {
      throw new IncompatibleError(
        'jset_too_big',
        {},
        `the roots of the btrees take ${jset.length} bytes, expected at most ${ENTRY_BYTES}`,
      );
    }
    return jset;
  }
}

/** What else an edit of the superblock has to do with. */
interface EditExtent {
  readonly layouts?: ReadonlyMap<number, BchSbLayout> | undefined;
  /** Members that do not get it. */
  readonly leaving?: ReadonlySet<number> | undefined;
  /** Which buckets are a member's journal, where that changes. */
  readonly journals?: NewJournals | undefined;
}

function staying(set: MemberSet, leaving: ReadonlySet<number> | undefined): MemberSet {
  if (leaving === undefined || leaving.size === 0) return set;
  const rest = memberSetOf(set.members.filter(({ sb }) => !leaving.has(sb.dev_idx)));
  return { ...rest, missing: set.missing };
}

/** Since the last commit. */
interface StagedParts {
  readonly superblocks: readonly StageRequest['superblock'][];
  /** Btrees that were built anew. */
  readonly built: readonly number[];
  readonly nodeCount: number;
  readonly sizeBytes: number;
}

const NOTHING_STAGED: StagedParts = { superblocks: [], built: [], nodeCount: 0, sizeBytes: 0 };

/** @param seq of the entry that commits them */
function withRoots({ roots }: ReplayState, newRoots: WrittenNodes['roots'], seq: number): Map<number, BtreeRoot> {
  const result = new Map(roots);
  for (const [btree, root] of newRoots) result.set(btree, { btree, ...root, seq });
  return result;
}

/** Half of what reading keeps: beside the nodes, a change has its keys in memory. */
const NODES_KEPT_BYTES = NODE_CACHE_BYTES / 2;

const filesystemWith = (
  set: MemberSet,
  key: Uint8Array | undefined,
  { unvalidated = false, isRepair = false }: Pick<WriterOptions, 'unvalidated' | 'isRepair'>,
): Filesystem => {
  // A check walks most btrees four times.
  const parts = { nodesKeptBytes: NODES_KEPT_BYTES, keepsWalked: isRepair, unvalidated };
  return new Filesystem(set, readReplayState(set, key), key, parts);
};

/**
 * What is understood well enough to be changed, with all its members, each of which takes what will be written. Asks for no key, and reads no
 * more than the superblocks. A repair makes the allocation info anew.
 * @throws IncompatibleError, UsageError, CorruptError, DeviceError
 */
export function refuseUnwritable(
  set: MemberSet,
  { isRepair = false, allowMissing = false }: Pick<WriterOptions, 'isRepair' | 'allowMissing'> = {},
): void {
  const { sb } = set.newest;
  checkWritable(sb);
  if (set.missing.length > 0 && !allowMissing) {
    const help = 'a change needs all of them (or --allow_missing)';
    throw new UsageError(`${missingText(set)}; ${help}`, undefined, 'member_missing');
  }
  const replaced = set.members.find(member => isReplaced(member, sb));
  if (replaced !== undefined) {
    const { device, sb: own } = replaced;
    throw new UsageError(
      `${device.name} was member ${own.dev_idx} of filesystem ${sb.user_uuid} once, and another device has its place: leave it out, and name ` +
        `${memberText(sb, own.dev_idx)} instead`,
    );
  }
  if (!isRepair) refuseLostJournal(set);
  if (getBits(sb.flags, sbBits.INITIALIZED) === 0) {
    throw new UsageError('the filesystem was never initialized: mount it once, or format it anew');
  }
  if (isAllocInfoStripped(sb) && !isRepair) {
    throw new IncompatibleError(
      'no_alloc_info',
      { device: set.newest.device.name },
      'its allocation info was dropped (strip-alloc), so it can only be read; a mount for writing rebuilds it',
    );
  }
  refuseUnfit(set);
  const isEncrypted = getBits(sb.flags, sbBits.ENCRYPTION_TYPE) !== 0;
  if (isEncrypted !== (encryptionOf(sb) !== 'none')) {
    const detail = isEncrypted ? 'it is encrypted, but the key is missing' : 'there is a key, but it is not encrypted';
    throw new CorruptError('invalid_sb_crypt', { device: set.newest.device.name, field: 'crypt' }, detail);
  }
}

/** Whether none of the devices of an entry is there; as many as it needs to be read would be one for all but erasure coding. */
const isLost = ({ nr_required, devs }: ReplicasEntry, missing: readonly number[]): boolean =>
  devs.filter(dev => !missing.includes(dev)).length < Math.max(1, nr_required);

/** Of a filesystem that is not clean, the newest entries may be there only. Mirrors bch2_have_enough_devs. */
function refuseLostJournal(set: MemberSet): void {
  const { sb } = set.newest;
  if (set.missing.length === 0 || getBits(sb.flags, sbBits.CLEAN) === 1) return;
  const lost = replicas(sb).find(entry => entry.data_type === JOURNAL && isLost(entry, set.missing));
  if (lost !== undefined) throw metadataMissing(set, 'a part of the journal may be only there');
}

/** The counters say what there is; the superblock may list sets of devices that hold nothing any more. */
function refuseLostMetadata(filesystem: Filesystem): void {
  const { set, sb } = filesystem;
  if (set.missing.length === 0) return;
  for (const entry of replicas(sb)) {
    if (entry.data_type !== BTREE || !isLost(entry, set.missing)) continue;
    const devs = [...entry.devs].sort((a, b) => a - b);
    const [sectors = 0] = countersOf(filesystem, { type: 'replicas', entry: { ...entry, devs } });
    if (sectors > 0) throw metadataMissing(set, `${sectorsToBytes(sectors)} bytes of btree nodes are only there`);
  }
}

const metadataMissing = (set: MemberSet, detail: string): UsageError =>
  new UsageError(`${missingText(set)}, and ${detail}: a change needs them`, undefined, 'member_missing');

/** @param rebuilt btrees whose roots need not be there */
function refuseDamaged({ replay }: Filesystem, isAllowed: boolean, rebuilt: ReadonlySet<number>): void {
  const [problem] = replay.problems;
  if (problem === undefined) return;
  if (!isAllowed) {
    const detail = `${problem.detail}; the journal is damaged (--damaged_journal changes the filesystem without what is lost)`;
    throw new CorruptError(problem.error, problem.where, detail);
  }
  // What looks like an empty btree would become one.
  for (const name of NEVER_EMPTY) {
    const btree = btrees.idOf(name);
    if (replay.roots.get(btree)?.key === undefined && !rebuilt.has(btree)) throw rootLost(name);
  }
  for (const { btree, key } of replay.roots.values())
    if (key === undefined && !rebuilt.has(btree)) throw rootLost(btrees.nameOf(btree));
}

/** In every filesystem that has a root directory. */
const NEVER_EMPTY = ['inodes', 'alloc', 'subvolumes', 'snapshots'] as const;

const rootLost = (btree: string): CorruptError =>
  new CorruptError('btree_root_read_error', { btree }, 'its root is lost with the journal: run fsck');

const metadataReplicas = (sb: Superblock): number => getBits(sb.flags, sbBits.META_REPLICAS_WANT);

const sortedRoots = (roots: ReadonlyMap<number, BtreeRoot>): readonly BtreeRoot[] =>
  [...roots.values()].sort((a, b) => a.btree - b.btree);

/** Whether the journal alone would give the state of the clean section. */
const hasState = ({ entries }: JournalReading, lastSeq: number): boolean => {
  const last = entries.at(-1);
  return (
    last !== undefined && last.seq === lastSeq && last.isFlush && last.checksumGood && last.lastSeq === BigInt(lastSeq)
  );
};

/** The oldest entry that the old state needs. */
const firstNeeded = (journal: JournalReading, lastSeq: number): number => journal.replayRange?.first ?? lastSeq;

/** A kernel reads the journal of the members that some entry of its replicas names. */
function withJournalReplicas(sb: Superblock, devs: readonly number[]): Superblock {
  const needs = new SuperblockNeeds(sb);
  needs.addReplicas({ data_type: JOURNAL, nr_required: 1, devs });
  return needs.applyTo(sb);
}

const ALLOC = btrees.idOf('alloc');
const JOURNAL = dataTypes.idOf('journal');
const BTREE = dataTypes.idOf('btree');

const bit = (id: number): bigint => 1n << BigInt(id);
const ONLY_WHILE_DIRTY =
  bit(incompatFeatures.idOf('extents_above_btree_updates')) | bit(incompatFeatures.idOf('btree_updates_journalled'));
const BLACKLIST = bit(incompatFeatures.idOf('journal_seq_blacklist_v3'));
const ALLOC_INFO = bit(compatFeatures.idOf('alloc_info')) | bit(compatFeatures.idOf('alloc_metadata'));

/** @param skipped numbers of entries that a crash may have lost: bsets that depend on them do not count */
function markedDirty(sb: Superblock, skipped: SeqRange | undefined): Superblock {
  const [incompat = 0n, ...others] = sb.features;
  const dirty = {
    ...sb,
    flags: withBits(sb.flags, sbBits.CLEAN, 0),
    features: [incompat | FEATURES_ALWAYS | (skipped === undefined ? 0n : BLACKLIST), ...others],
  };
  if (skipped === undefined) return dirty;
  const { ranges } = SeqBlacklist.of(sb).with([skipped]);
  const payload = journalSeqBlacklistField.encode?.(ranges);
  assert(payload !== undefined, 'the section can be written');
  return withSection(dirty, 'journal_seq_blacklist', payload);
}

/** A superblock that says where a filesystem stands, and that it was not being changed. */
export function markedClean(
  sb: Superblock,
  roots: readonly BtreeRoot[],
  clocks: JournalClocks,
  seq: number,
  places: readonly JournalSlot[],
): Superblock {
  const [incompat = 0n, ...others] = sb.features;
  const [compat = 0n, ...otherCompat] = sb.compat;
  const entries = stateEntries(roots, clocks);
  const clean = encodeClean({ flags: 0, read_clock: 0, write_clock: 0, journal_seq: seq, entries, damage: undefined });
  const changed = members(sb).map((member, index) => {
    const place = places.find(({ member: at }) => at === index);
    if (place === undefined) return member;
    return { ...member, last_journal_bucket: place.bucketIndex, last_journal_bucket_offset: place.endSectors };
  });
  return withMembers(
    withSection(
      {
        ...sb,
        flags: withBits(sb.flags, sbBits.CLEAN, 1),
        features: [incompat & ~ONLY_WHILE_DIRTY, ...others],
        compat: [compat | ALLOC_INFO, ...otherCompat],
      },
      'clean',
      clean,
    ),
    changed,
  );
}
