// A change from its beginning to its commit, put together in one place: a transaction with all triggers, room for data and nodes, and the
// commit. Every change begins here: of files, of members, of what fsck repairs. Each is used once: a commit takes it, or it is dropped, and
// nothing has happened.
//
//   const change = beginChange(writer, { usesReserve: true });
//   change.tx.put(…);
//   change.commit();

import { type AllocatorOptions, BucketAllocator, type NodePlacement } from '../alloc/allocator.ts';
import { ioTime } from '../alloc/bucket-state.ts';
import { releaseEmptied } from '../alloc/release-emptied.ts';
import { renewGens } from '../alloc/renew-gens.ts';
import type { SuperblockNeeds } from '../alloc/superblock-needs.ts';
import type { WrittenNodes } from '../btree/commit.ts';
import { Transaction } from '../btree/transaction.ts';
import type { JournalClocks } from '../journal/replay.ts';
import { getBits } from '../ondisk/bits.ts';
import { type CorruptError, InvariantError } from '../ondisk/errors.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { assertRootsLive } from './commit-assertions.ts';
import { FilesystemTriggers } from './triggers.ts';
import type { CommitReport, CommitRequest, FilesystemWriter, StageRequest } from './writer.ts';

export interface ChangeOptions extends Pick<AllocatorOptions, 'usesReserve' | 'ends' | 'isExcluded'> {
  /** Called when what is there contradicts the change, which then goes on as far as it can; without it this is thrown. */
  readonly onDamage?: ((damage: CorruptError) => void) | undefined;
  /**
   * The part of the same change that was staged before this one, or `staged` for parts of which nothing else is known. Without it, what
   * has been staged is given up.
   */
  readonly after?: ChangeParts | 'staged' | undefined;
  /**
   * Buckets that earlier commits have emptied become free first, as a kernel's discards do it: else each commit of many would leave the
   * nodes that it replaced behind, and a small filesystem would be full of them.
   */
  readonly releasesEmptied?: boolean;
  /** The superblock as `superblockAfter` will make it, as far as it says which buckets there are. */
  readonly sbAfter?: ((sb: Superblock) => Superblock) | undefined;
}

/** What a change is made with. */
export interface ChangeParts {
  readonly tx: Transaction;
  readonly triggers: FilesystemTriggers;
  readonly allocator: BucketAllocator;
}

/** What only the one who makes the change knows of its commit. */
export type CommitExtras = Partial<Omit<CommitRequest, 'tx' | 'allocator'>>;
export type StageExtras = Partial<Omit<StageRequest, 'tx' | 'allocator'>>;

export interface Change extends ChangeParts {
  /**
   * Everything or nothing, with what has been staged. The change is used up.
   * @throws NoSpaceError, CorruptError before anything counts; DeviceError at any point
   */
  commit(extras?: CommitExtras): CommitReport;
  /** Writes it as a part of what a later commit commits: nothing counts yet. The change is used up. @throws as `commit` does */
  stage(extras?: StageExtras): void;
}

/** How many copies of a node there are to be, and where: as the superblock says. */
export const nodePlacement = ({ flags }: Superblock): NodePlacement => ({
  replicas: getBits(flags, sbBits.META_REPLICAS_WANT),
  target: getBits(flags, sbBits.METADATA_TARGET),
});

/** @param writer whose next commit this may become */
export function beginChange(writer: FilesystemWriter, options: ChangeOptions = {}): Change {
  const { after, usesReserve, ends, isExcluded, sbAfter, releasesEmptied = false } = options;
  if (after === undefined) writer.dropStaged();
  const { filesystem } = writer;
  const stand = standOf(filesystem);
  const triggers = triggersOf({ ...stand, sb: sbAfter?.(stand.sb) ?? stand.sb }, writer.nextSeq, options);
  const tx = writer.begin(triggers);
  renewGens(triggers, tx);
  const isHeld = (dev: number, bucket: number) => writer.isHeld(dev, bucket);
  if (after !== undefined) releaseEmptied(triggers, tx, { isHeld });
  else if (releasesEmptied) releaseEmptied(triggers, tx);
  const allocator = new BucketAllocator(filesystem, triggers, nodePlacement(filesystem.sb), {
    ...(usesReserve === undefined ? {} : { usesReserve }),
    ...(ends === undefined ? {} : { ends }),
    ...(isExcluded === undefined ? {} : { isExcluded }),
    ...(after === undefined ? {} : { isHeld }),
    ...(after === undefined || after === 'staged' ? {} : { after: after.allocator }),
  });
  const superblock = editFor(triggers.needs);
  const checkRoots = (roots: WrittenNodes['roots']) => assertRootsLive(tx, filesystem.sb, roots.values());
  return {
    tx,
    triggers,
    allocator,
    commit: extras => writer.commit({ tx, allocator, superblock, checkRoots, ...extras }),
    stage: extras => writer.stage({ tx, allocator, superblock, ...extras }),
  };
}

/** What the superblock has to say for what triggers have met. A function of its own, since the writer keeps it until the commit, and it would keep whatever is around it: parts that have been staged. */
export const editFor =
  (needs: SuperblockNeeds) =>
  (sb: Superblock): Superblock =>
    needs.applyTo(sb);

/** A change that cannot be committed: what it would do is looked at (a check that only reports, a test). @param seq of the journal entry that it would be */
export function beginTrial(filesystem: Filesystem, seq = filesystem.replay.lastSeq + 1): ChangeParts {
  const triggers = triggersOf(standOf(filesystem), seq, {});
  const tx = new Transaction(filesystem, triggers);
  return { tx, triggers, allocator: new BucketAllocator(filesystem, triggers, nodePlacement(filesystem.sb)) };
}

/** A change in which nothing is to be changed: nothing is read for it, so that it is for filesystems too of which parts cannot be read. */
export function beginLook(filesystem: Filesystem): Change {
  const triggers = triggersOf(standOf(filesystem), filesystem.replay.lastSeq + 1, {});
  const isOnlyLook = (): never => assertNever();
  return {
    tx: new Transaction(filesystem, triggers),
    triggers,
    get allocator() {
      return new BucketAllocator(filesystem, triggers, nodePlacement(filesystem.sb));
    },
    commit: isOnlyLook,
    stage: isOnlyLook,
  };
}

function assertNever(): never {
  throw new InvariantError('nothing is changed where it is only looked');
}

/** What triggers have to know of where a filesystem stands. */
export const standOf = ({ sb, replay: { clocks } }: Filesystem) => ({ sb, clocks });

/** All triggers of a change, also of the first one of a new filesystem. @param journalSeq of the journal entry that it will be */
export function triggersOf(
  { sb, clocks }: { readonly sb: Superblock; readonly clocks: JournalClocks },
  journalSeq: number,
  { onDamage }: Pick<ChangeOptions, 'onDamage'>,
): FilesystemTriggers {
  return new FilesystemTriggers(sb, {
    journalSeq,
    readClock: ioTime(clocks.read),
    writeClock: ioTime(clocks.write),
    ...(onDamage === undefined ? {} : { onDamage }),
  });
}
