// A member leaves the filesystem for good. What lies on it is moved to the others first; or it is given up, for a member that is missing or
// because it was asked for: then pointers to it are dropped, and what has no other copy is lost. Then one commit takes its buckets out of all
// btrees and counters, and the superblock that goes with it empties its slot, together with the last sets of devices that name it.
// At last the superblocks on the device itself are wiped.
//
// A crash leaves a filesystem with all its files at any time, with the member or without it. Before the last commit it is one that is being
// emptied. Cut off between the journal entry and the superblock, it is a member of which nothing is known: a mount goes on with the others,
// and doing the same again finishes it. The other way round, a replicas entry or a counter would name a member that is not there, and no
// kernel mounts that. The committing entry is on members that stay, so that the one that leaves is not needed for anything any more.
// Source: bch2_dev_remove in super.c, bch2_dev_data_drop in migrate.c, bch2_bkey_drop_ptr in extents.c, v1.13.0.

import { allocDevices, journalDevices } from '../alloc/alloc-devices.ts';
import { bucketPos } from '../alloc/bucket-indexes.ts';
import { TYPE } from '../alloc/bucket-state.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import { forgetEmptyBuckets, removeDevice } from '../alloc/remove-device.ts';
import { withoutReplicas } from '../alloc/superblock-needs.ts';
import { KEYS_OF_NODE, nodesToRewrite } from '../btree/commit.ts';
import { makeKey, type Transaction } from '../btree/transaction.ts';
import { type Batch, inBatches } from '../change/batches.ts';
import { beginChange, type Change } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { cutBack, cutFront } from '../data/extent-cut.ts';
import { type BucketNode, bucketContents, bucketNodes } from '../data/move-extents.ts';
import { withBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposOffset, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { replicasEntryText } from '../ondisk/replicas-entry.ts';
import { MEMBER_NIL_UUID, withMember } from '../ondisk/sb-fields/members.ts';
import { replicas } from '../ondisk/sb-fields/replicas.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { hideInDescendants } from '../snapshots/whiteouts.ts';
import { memberText } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import { countedDurability, sectorsIn } from './copies.ts';
import {
  contentsOf,
  type EvacuatePlan,
  type EvacuateProgress,
  type EvacuateReport,
  evacuateSteps,
  isStriped,
  type LeftKey,
  type MemberContents,
  planEvacuate,
  pointingKeys,
  withState,
} from './evacuate.ts';
import { isComputable, leaningStripes, StripeLeaving } from './leave-stripes.ts';
import { uncountedBuckets, wipeMember } from './member-change.ts';
import { type MemberTarget, targetsNaming, targetsOnlyWith, withoutTargets } from './member-targets.ts';
import { editWritableSteps } from './waiting-data.ts';

export interface RemoveOptions {
  /** What is on it is not moved: it is given up. For a member that is missing that is so by itself. */
  readonly isForced?: boolean;
  readonly keysPerCommit?: number;
}

export interface RemovePlan {
  readonly contents: MemberContents;
  readonly isMissing: boolean;
  /** Undefined when its data is given up. */
  readonly evacuation: EvacuatePlan | undefined;
  /** Data of which there is no other copy, and of which there is one less: by the counters, and 0 where it is moved. */
  readonly lostBytes: number;
  readonly fewerCopiesBytes: number;
  readonly targets: LeavingTargets;
}

/** Options of the filesystem that mean a member. */
export interface LeavingTargets {
  /** They name it, and will be none. */
  readonly cleared: readonly MemberTarget[];
  /** They have a label that no other member has, and keep it. */
  readonly emptied: readonly MemberTarget[];
}

export interface RemoveReport {
  readonly evacuation: EvacuateReport | undefined;
  /** It is removed; else something could not be moved, and it stays a member. */
  readonly isRemoved: boolean;
  readonly lostKeys: number;
  readonly commits: number;
}

/** Of which no copies count: what parity is for is counted as data. */
const NOT_DATA: readonly number[] = [TYPE.journal, TYPE.cached, TYPE.parity];

const KEYS_PER_COMMIT = 50_000;
const LOST_LISTED = 1000;

const RO = memberStates.idOf('ro');
const ERROR = keyTypes.idOf('error');
const REFLINK_P = keyTypes.idOf('reflink_p');
const EXTENTS = btrees.idOf('extents');
const REFLINK = btrees.idOf('reflink');
const NO_VALUE = new Uint8Array(0);

/**
 * What it takes, and whether it can be done at all.
 * @throws UsageError for the last member, and for metadata that is only there; NoSpaceError with the numbers
 */
export function planRemove(filesystem: Filesystem, dev: number, { isForced = false }: RemoveOptions = {}): RemovePlan {
  const { sb, set } = filesystem;
  if (allocDevices(sb)[dev] === undefined) throw new UsageError(`the filesystem has no member ${dev}`);
  const isMissing = filesystem.device(dev) === undefined;
  const contents = contentsOf(filesystem, dev);
  const targets = leavingTargets(sb, dev);
  if (!isMissing && !isForced) {
    const evacuation = planEvacuate(filesystem, [dev]);
    return { contents, isMissing, evacuation, lostBytes: 0, fewerCopiesBytes: evacuation.fewerCopiesBytes, targets };
  }
  const isOther = (other: number) => other !== dev && !set.missing.includes(other);
  if (journalDevices(sb, isOther).length === 0)
    throw new UsageError(`${memberText(sb, dev)} is the last one that may hold the journal: it cannot be removed`);
  let [lost, fewer] = [0, 0];
  for (const entry of replicas(sb)) {
    if (!entry.devs.includes(dev) || NOT_DATA.includes(entry.data_type)) continue;
    if (isStriped(entry)) {
      const striped = sectorsIn(filesystem, entry);
      const goneCount = entry.devs.filter(one => !isOther(one)).length;
      if (goneCount > entry.devs.length - entry.nr_required) lost += (striped * goneCount) / entry.devs.length;
      else fewer += striped;
      continue;
    }
    const sectors = sectorsIn(filesystem, entry) / entry.devs.length;
    if (sectors === 0) continue;
    const isOnly = entry.devs.every(other => other === dev);
    // Nodes of a device that is there are read and written elsewhere.
    if (!entry.devs.some(isOther) && entry.data_type === TYPE.btree && isMissing) {
      const bytes = sectorsToBytes(sectors);
      throw new UsageError(
        `${memberText(sb, dev)} is missing, and ${bytes} bytes of btree nodes are only there: the filesystem cannot be read without it`,
        undefined,
        'member_missing',
      );
    }
    if (isOnly && entry.data_type !== TYPE.btree) lost += sectors;
    else if (!isOnly) fewer += sectors;
  }
  const [lostBytes, fewerCopiesBytes] = [sectorsToBytes(Math.ceil(lost)), sectorsToBytes(Math.ceil(fewer))];
  return { contents, isMissing, evacuation: undefined, lostBytes, fewerCopiesBytes, targets };
}

/**
 * What happens to the options that mean a member. 6.12 leaves them as they are. One that names an empty slot counts as none; but with
 * such a promote_target it makes a cached copy at every read, wherever there is room (bch2_target_to_mask in disk_groups.c, v1.13.0).
 */
function leavingTargets(sb: Superblock, dev: number): LeavingTargets {
  const cleared = targetsNaming(sb, dev);
  return { cleared, emptied: targetsOnlyWith(sb, dev).filter(name => !cleared.includes(name)) };
}

/** Keys of data that is on this member only. Reads all keys of files. @param most so many are listed */
export function lostKeys(filesystem: Filesystem, dev: number, most: number = LOST_LISTED): readonly LeftKey[] {
  const lost: LeftKey[] = [];
  for (const { btree, key } of pointingKeys(filesystem, new Set([dev]), { btree: 0, pos: undefined })) {
    if (isKept(filesystem, key, dev)) continue;
    lost.push({ btree, level: 0, pos: key.k.p, dev });
    if (lost.length === most) break;
  }
  return lost;
}

/** Whether data has a copy without a member. One on another member that is missing counts too: it may come back. */
function isKept(filesystem: Filesystem, key: Key, dev: number): boolean {
  const dirty = spacePointers(entryBytesOf(key), key.k.size).pointers.filter(({ cached }) => !cached);
  const isElsewhere = ({ dev: own, stripe }: SpacePointer) =>
    own !== dev || (stripe !== undefined && isComputable(filesystem, stripe.idx, dev));
  return dirty.length === 0 || dirty.some(isElsewhere);
}

/** All steps at once. @throws as removeSteps does */
export function removeMember(...request: Parameters<typeof removeSteps>): RemoveReport {
  return allSteps(removeSteps(...request));
}

/**
 * Takes a member out, a commit a step. Of extents that refer to shared data of which nothing is left, those parts are errors then.
 * @throws UsageError, NoSpaceError as planRemove does: not a byte was changed; CorruptError, DeviceError, NoSpaceError later: the filesystem is
 * whole then, and still has the member
 */
export function* removeSteps(
  writer: FilesystemWriter,
  dev: number,
  options: RemoveOptions = {},
): Generator<EvacuateProgress | undefined, RemoveReport, void> {
  const plan = planRemove(writer.filesystem, dev, options);
  const member = writer.filesystem.set.members.find(({ sb }) => sb.dev_idx === dev);
  const work = new Removal(writer, dev, options);
  let evacuation: EvacuateReport | undefined;
  if (plan.evacuation === undefined) {
    // A state of failed stays: with another one a missing member would be asked for by every mount until it is gone.
    if (allocDevices(writer.filesystem.sb)[dev]?.isWritable)
      yield* editWritableSteps(writer, sb => withState(sb, dev, RO));
    yield* work.giveUp();
  } else {
    evacuation = yield* evacuateSteps(writer, [dev], options);
    if (evacuation.leftCount > 0) return { evacuation, isRemoved: false, lostKeys: 0, commits: evacuation.commits };
  }
  yield* work.forget();
  work.leave();
  if (member !== undefined) wipeMember(member);
  return { evacuation, isRemoved: true, lostKeys: work.lostKeys, commits: work.commits + (evacuation?.commits ?? 0) };
}

/** The commits that it takes. */
class Removal {
  lostKeys = 0;
  commits = 0;
  readonly #writer: FilesystemWriter;
  readonly #dev: number;
  readonly #keysPerCommit: number;

  constructor(writer: FilesystemWriter, dev: number, { keysPerCommit = KEYS_PER_COMMIT }: RemoveOptions) {
    this.#writer = writer;
    this.#dev = dev;
    this.#keysPerCommit = keysPerCommit;
  }

  /** Nodes are written anew without it, and data loses its copies there. */
  *giveUp(): Generator<undefined> {
    yield* this.#rewriteNodes();
    const devs = new Set([this.#dev]);
    yield* this.#leaveStripes(devs);
    yield* this.#inBatches((change, keysMax) => {
      const shared: Key[] = [];
      let keys = 0;
      let lost = 0;
      for (const { btree, key } of pointingKeys(this.#writer.filesystem, devs, { btree: 0, pos: undefined })) {
        const isLost = !isKept(this.#writer.filesystem, key, this.#dev);
        if (isLost) lost++;
        if (isLost && btree === REFLINK) shared.push(key);
        else this.#drop(change.tx, btree, key, isLost);
        if (++keys === keysMax) break;
      }
      if (keys === 0) return undefined;
      if (shared.length > 0) this.#dropShared(change.tx, shared);
      return {
        isMore: keys === keysMax,
        onCommitted: () => {
          this.lostKeys += lost;
        },
      };
    });
  }

  /** What stripes give of it is kept. */
  *#leaveStripes(devs: ReadonlySet<number>): Generator<undefined> {
    const waiting = [...leaningStripes(this.#writer.filesystem, { devs })];
    let done = 0;
    yield* this.#inBatches((change, keysMax) => {
      if (done >= waiting.length) return undefined;
      const { filesystem } = this.#writer;
      const work = new StripeLeaving(change, filesystem, { devs }, countedDurability(filesystem, devs));
      let next = done;
      while (next < waiting.length && work.keys < keysMax && work.leave(waiting[next]!, keysMax)) next++;
      const { clocks } = filesystem.replay;
      return {
        isMore: true,
        extras: { clocks: { ...clocks, write: clocks.write + BigInt(work.sectors) } },
        onCommitted: () => {
          done = next;
        },
      };
    });
  }

  /** Alloc keys of empty buckets, as far as there are too many for one commit. */
  *forget(): Generator<undefined> {
    const range = { from: bucketPos(this.#dev, 0), to: bucketPos(this.#dev, 2 ** 48) };
    let left = 0;
    for (const _ of this.#writer.filesystem.btree('alloc').keys(range)) left++;
    yield* this.#inBatches((change, keysMax) => {
      if (left <= this.#keysPerCommit) return undefined;
      const count = forgetEmptyBuckets(change.tx, this.#dev, keysMax);
      if (count === 0) return undefined;
      return {
        isMore: true,
        onCommitted: () => {
          left -= count;
        },
      };
    });
  }

  /** The last one. */
  leave(): void {
    const dev = this.#dev;
    const { filesystem } = this.#writer;
    const device = allocDevices(filesystem.sb)[dev]!;
    this.#refuseUsed(filesystem);
    const change = this.#begin();
    removeDevice(change.triggers, change.tx, device, uncountedBuckets(filesystem, device));
    change.commit({
      superblock: sb => withoutFreespace(change.triggers.needs.applyTo(sb), dev),
      superblockAfter: sb => withoutMember(sb, dev),
      leaving: new Set([dev]),
    });
    this.commits++;
  }

  /** @throws CorruptError when something still names the member: its slot may not become empty then */
  #refuseUsed(filesystem: Filesystem): void {
    const dev = this.#dev;
    for (const entry of replicas(filesystem.sb)) {
      if (!entry.devs.includes(dev) || entry.data_type === TYPE.journal || sectorsIn(filesystem, entry) === 0) continue;
      const detail = `${replicasEntryText(entry)} still counts data that no key has: run fsck`;
      throw new CorruptError('accounting_mismatch', { field: `members[${dev}]` }, detail);
    }
    for (const { btree, key } of pointingKeys(filesystem, new Set([dev]), { btree: 0, pos: undefined })) {
      const where = { btree: btrees.nameOf(btree), pos: bposText(key.k.p) };
      throw new CorruptError('ptr_to_missing_backpointer', where, `a pointer to member ${dev} is left: run fsck`);
    }
  }

  *#rewriteNodes(): Generator<undefined> {
    const device = allocDevices(this.#writer.filesystem.sb)[this.#dev]!;
    yield* this.#inBatches((_, keysMax) => {
      const rewrite: BucketNode[] = [];
      let keys = 0;
      const { filesystem } = this.#writer;
      for (const contents of bucketContents(filesystem, device, 0, device.bucketEnd)) {
        const nodes = bucketNodes(filesystem, device, contents);
        if (keys > 0 && keys + KEYS_OF_NODE * nodes.length > keysMax) break;
        keys += KEYS_OF_NODE * nodes.length;
        rewrite.push(...nodes);
      }
      return keys === 0 ? undefined : { isMore: true, extras: { rewrite: nodesToRewrite(rewrite) } };
    });
  }

  #drop(tx: Transaction, btree: number, key: Key, isLost: boolean): void {
    if (isLost) {
      tx.update(btree, makeKey(ERROR, key.k.p, NO_VALUE, key.k));
      return;
    }
    const left = withPointers(key, ptr => (ptr.dev === this.#dev ? undefined : ptr));
    const isPointing = spacePointers(entryBytesOf(left), left.k.size).pointers.length > 0;
    if (isPointing) tx.update(btree, left);
    // Nothing but a cached copy was there.
    else tx.delete(btree, key.k.p);
  }

  /** Files that refer to shared data that is lost have an error in the place of that part; the last reference takes it away. */
  #dropShared(tx: Transaction, lost: readonly Key[]): void {
    const ranges = lost.map(({ k }) => ({ start: bposOffset(k.p) - BigInt(k.size), end: bposOffset(k.p) }));
    const table = SnapshotTable.read(tx);
    for (const key of [...this.#references(tx, ranges)]) {
      for (const piece of withoutShared(key, ranges)) {
        hideInDescendants(tx, 'extents', table, key.k.p, piece.k.p);
        tx.update(EXTENTS, piece);
      }
    }
    tx.settle();
    for (const { k } of lost) if (tx.get(REFLINK, k.p) !== undefined) tx.delete(REFLINK, k.p);
  }

  *#references(tx: Transaction, ranges: readonly SharedRange[]): Generator<Key> {
    for (const key of tx.btree(EXTENTS).keys()) {
      if (key.k.type !== REFLINK_P || key.value.length < reflinkP.minBytes) continue;
      const { idx, front_pad, back_pad } = reflinkP.decode(key.value);
      const [start, end] = [idx - BigInt(front_pad), idx + BigInt(key.k.size + back_pad)];
      const first = ranges[firstAfter(ranges, start)];
      if (first !== undefined && first.start < end) yield key;
    }
  }

  #begin(): Change {
    return beginChange(this.#writer, { usesReserve: true, releasesEmptied: true });
  }

  *#inBatches(fill: (change: Change, keysMax: number) => Batch | undefined): Generator<undefined> {
    for (const _ of inBatches(() => this.#begin(), fill, this.#keysPerCommit)) {
      this.commits++;
      yield;
    }
  }
}

interface SharedRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** @param ranges in order @returns the index of the first that ends after a place */
function firstAfter(ranges: readonly SharedRange[], start: bigint): number {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle]!.end <= start) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * A reference to shared data, in pieces: errors where that is lost, and the rest as it was. One that only its pads lead there is whole, and
 * gets others when it is put back.
 */
function withoutShared(key: Key, ranges: readonly SharedRange[]): readonly Key[] {
  const { idx } = reflinkP.decode(key.value);
  const { size } = key.k;
  const within = (place: bigint) => Math.min(size, Math.max(0, Number(place - idx)));
  const piece = (from: number, to: number) => cutBack(cutFront(key, from), to - from);
  const pieces: Key[] = [];
  let done = 0;
  for (let nr = firstAfter(ranges, idx); nr < ranges.length && done < size; nr++) {
    const [from, to] = [within(ranges[nr]!.start), within(ranges[nr]!.end)];
    if (from === to) break;
    if (from > done) pieces.push(piece(done, from));
    const { k } = piece(from, to);
    pieces.push(makeKey(ERROR, k.p, NO_VALUE, k));
    done = to;
  }
  if (done < size) pieces.push(piece(done, size));
  return pieces;
}

function withoutFreespace(sb: Superblock, dev: number): Superblock {
  return withMember(sb, dev, member => ({
    ...member,
    flags: withBits([member.flags], memberBits.FREESPACE_INITIALIZED, 0)[0]!,
  }));
}

/** Its slot is empty, and no set of devices and no option names it. */
function withoutMember(sb: Superblock, dev: number): Superblock {
  const unnamed = withoutReplicas(sb, ({ devs }) => devs.includes(dev));
  const without = withoutTargets(unnamed, targetsNaming(sb, dev));
  return withMember(without, dev, member => ({ ...member, uuid: MEMBER_NIL_UUID }));
}
