// A member is emptied: what lies on it goes to the others, and its superblock and its journal are left. First its state becomes ro, so that
// nothing new goes there, ours or a kernel's; then data and btree nodes are moved in batches, each of which is a commit; then cached
// copies are dropped; and at last the superblock forgets which sets of devices it was part of.
//
// A crash leaves a filesystem with all its files at any time, and doing the same again goes on where it stopped; a state of rw calls it off.
//
// How many copies there are afterwards: as many as before, as far as the file shall have them and there are devices. A copy that is one too
// many is dropped. Where no device is left for one, it goes if there are others, and stays where it is if it is the only one; before a
// copy goes, one of those that stay is read and compared with its checksum. A kernel reads none of them, and leaves data where it is
// when the devices left are fewer than the copies wanted.
// Source: migrate_pred in move.c, bch2_data_update_init in data_update.c, bch2_dev_evacuate and bch2_replicas_gc2, v1.13.0.

import { type AllocDevice, allocDevices, allowsData, journalDevices } from '../alloc/alloc-devices.ts';
import { TYPE } from '../alloc/bucket-state.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import { countersOf } from '../alloc/reserve.ts';
import { withoutReplicas } from '../alloc/superblock-needs.ts';
import { KEYS_OF_NODE, nodesToRewrite } from '../btree/commit.ts';
import type { FilesystemSource } from '../btree/source.ts';
import { type Batch, inBatches } from '../change/batches.ts';
import { beginChange, type Change } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { CopyJudge } from '../data/copy-judge.ts';
import { extentContent } from '../data/extent-read.ts';
import {
  type BucketNode,
  type BucketReference,
  bucketContents,
  bucketNodes,
  CopyRuns,
  type MoveRules,
  moveBucketData,
} from '../data/move-extents.ts';
import { type Replica, replicasOf } from '../data/replicas.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { NoSpaceError, UsageError } from '../ondisk/errors.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import type { ReplicasEntry } from '../ondisk/replicas-entry.ts';
import { members, withMember } from '../ondisk/sb-fields/members.ts';
import { replicas } from '../ondisk/sb-fields/replicas.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { memberText } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import { availableBytes, CopyDemands, countedDurability, fsOption, isReadable, sectorsIn } from './copies.ts';
import { DataOptions } from './data-options.ts';
import { leaningStripes, StripeLeaving } from './leave-stripes.ts';
import { editWritableSteps } from './waiting-data.ts';

export interface EvacuateOptions {
  /** What is moved; both when left out. */
  readonly types?: readonly ('user' | 'btree')[] | undefined;
  /** How many keys a commit changes at the most, so that memory is bounded. */
  readonly keysPerCommit?: number;
}

/** What is on one member. */
export interface MemberContents {
  readonly dev: number;
  readonly userBytes: number;
  readonly btreeBytes: number;
  readonly cachedBytes: number;
}

/** What an evacuation will do, by the counters. */
export interface EvacuatePlan {
  readonly contents: readonly MemberContents[];
  /** At the most: a copy that is one too many is not moved. */
  readonly movedBytes: number;
  /** What the other members have for it, besides what the filesystem keeps back. */
  readonly availableBytes: number;
  /** Data that will have a copy less than it shall have, since there are no more members for it. */
  readonly fewerCopiesBytes: number;
}

export interface EvacuateReport {
  readonly movedBytes: number;
  /** Of copies that were one too many, or for which no other member is left. */
  readonly droppedBytes: number;
  readonly fewerCopiesBytes: number;
  readonly commits: number;
  /** Keys that still point to the members. */
  readonly left: readonly LeftKey[];
  readonly leftCount: number;
}

/** A key that still points to a member that was to be empty; above level 0 the node below it is there. */
export interface LeftKey extends BucketReference {
  readonly dev: number;
}

export interface EvacuateProgress {
  readonly movedBytes: number;
  readonly plannedBytes: number;
}

const KEYS_PER_COMMIT = 50_000;
/** So many keys that are left are listed. */
const LEFT_LISTED = 1000;

const RO = memberStates.idOf('ro');

/**
 * What it takes, and whether it can be done at all. Reads a few counters.
 * @param devs their indexes
 * @throws UsageError for members that are not there, and when the others may not hold what is on these; NoSpaceError with the numbers
 */
export function planEvacuate(
  filesystem: Filesystem,
  devs: readonly number[],
  { types = ['user', 'btree'] }: EvacuateOptions = {},
): EvacuatePlan {
  const { sb, set } = filesystem;
  const devices = allocDevices(sb);
  const leaving = new Set(devs);
  for (const dev of leaving) refuseMember(filesystem, devices, dev);
  const isOther = (dev: number) => !leaving.has(dev) && !set.missing.includes(dev);
  if (journalDevices(sb, isOther).length === 0)
    throw new UsageError('no other member may hold the journal: it would have no place', undefined, 'EINVAL');
  const others = devices.filter(
    device => device !== undefined && isOther(device.index) && device.isWritable && device.durability > 0,
  );
  const able = { user: new Set<number>(), btree: new Set<number>() };
  for (const what of ['user', 'btree'] as const)
    for (const device of others) if (device !== undefined && allowsData(device, what)) able[what].add(device.index);
  const readable = (dev: number) => devices[dev] !== undefined && isReadable(sb, dev);
  const contents = [...leaving].map(dev => contentsOf(filesystem, dev));
  let movedSectors = 0;
  let fewerSectors = 0;
  const demands = new CopyDemands();
  const wanted = { user: fsOption(sb, 'data_replicas'), btree: fsOption(sb, 'metadata_replicas') };
  for (const entry of replicas(sb)) {
    const what = entry.data_type === TYPE.user ? 'user' : entry.data_type === TYPE.btree ? 'btree' : undefined;
    if (what === undefined || !types.includes(what)) continue;
    const going = entry.devs.filter(dev => leaving.has(dev)).length;
    if (going > 0 && isStriped(entry)) {
      const striped = sectorsIn(filesystem, entry);
      const placed = Math.min(able.user.size, wanted.user);
      if (striped > 0 && placed === 0) throw noPlaceError('data');
      // What lies on those that stay has its first copy there.
      const there = [...leaving].reduce((sum, dev) => sum + stripeSectorsOn(filesystem, dev), 0);
      movedSectors += striped * (placed - 1) + Math.min(striped, there);
      fewerSectors += striped * (wanted.user - placed);
      continue;
    }
    const sectors = going === 0 ? 0 : sectorsIn(filesystem, entry) / entry.devs.length;
    if (sectors === 0) continue;
    const kept = entry.devs.filter(dev => isOther(dev) && readable(dev));
    const staying = kept.reduce((sum, dev) => sum + (devices[dev]?.durability ?? 0), 0);
    const copies = Math.min(going, Math.max(wanted[what] - staying, staying === 0 ? 1 : 0));
    const places = [...able[what]].filter(dev => !entry.devs.includes(dev));
    const placed = Math.max(0, Math.min(copies, places.length));
    if (staying === 0 && placed === 0) {
      throw noPlaceError(what === 'user' ? 'data' : 'btree nodes');
    }
    movedSectors += placed * sectors;
    fewerSectors += (copies - placed) * sectors;
    if (what === 'user') demands.add(places, placed * sectors);
  }
  const needed = sectorsToBytes(Math.ceil(movedSectors));
  const free = availableBytes(
    filesystem,
    others.filter(device => device !== undefined),
  );
  const names = [...leaving].map(dev => memberText(sb, dev)).join(', ');
  if (needed > free) {
    throw new NoSpaceError(
      `${names}: ${needed} bytes are to be moved, and the other members have room for ${free} besides what the filesystem keeps back: ` +
        `${needed - free} bytes too few; nothing was changed`,
    );
  }
  demands.refuseTooLarge(filesystem, `${names}: `);
  return {
    contents,
    movedBytes: needed,
    availableBytes: free,
    fewerCopiesBytes: sectorsToBytes(Math.ceil(fewerSectors)),
  };
}

const noPlaceError = (what: string): UsageError =>
  new UsageError(`no other member may hold ${what}: see show-super for their states and --data_allowed`);

/** Of data in stripes: all of their devices are named, and each sector counts once. */
export const isStriped = ({ data_type, nr_required }: ReplicasEntry): boolean =>
  data_type === TYPE.user && nr_required > 1;

function stripeSectorsOn(filesystem: FilesystemSource, dev: number): number {
  const [, sectors = 0] = countersOf(filesystem, { type: 'dev_data_type', dev, data_type: TYPE.stripe });
  return Math.max(0, sectors);
}

function refuseMember(filesystem: Filesystem, devices: readonly (AllocDevice | undefined)[], dev: number): void {
  const { sb } = filesystem;
  if (devices[dev] === undefined) throw new UsageError(`the filesystem has no member ${dev}`);
  if (filesystem.device(dev) === undefined) {
    const help = 'nothing can be moved from it; device remove drops it';
    throw new UsageError(`${memberText(sb, dev)} is missing: ${help}`, undefined, 'member_missing');
  }
}

/** What is on a member, by the counters. */
export function contentsOf(filesystem: FilesystemSource, dev: number): MemberContents {
  const bytes = (type: 'user' | 'btree' | 'cached'): number => {
    const [, sectors = 0] = countersOf(filesystem, { type: 'dev_data_type', dev, data_type: TYPE[type] });
    return sectorsToBytes(Math.max(0, sectors));
  };
  return { dev, userBytes: bytes('user'), btreeBytes: bytes('btree'), cachedBytes: bytes('cached') };
}

/** All steps at once. @throws as evacuateSteps does */
export function evacuateMembers(...request: Parameters<typeof evacuateSteps>): EvacuateReport {
  return allSteps(evacuateSteps(...request));
}

/**
 * Empties members, a commit a step.
 * @throws UsageError, NoSpaceError as planEvacuate does: not a byte was changed; CorruptError, DeviceError, NoSpaceError later: the filesystem
 * is whole then, and part of the data has been moved
 */
export function* evacuateSteps(
  writer: FilesystemWriter,
  devs: readonly number[],
  options: EvacuateOptions = {},
): Generator<EvacuateProgress, EvacuateReport, void> {
  const plan = planEvacuate(writer.filesystem, devs, options);
  const leaving = new Set(devs);
  const isWritable = (sb: Superblock, dev: number) => getBits([members(sb)[dev]!.flags], memberBits.STATE) === 0;
  if (devs.some(dev => isWritable(writer.filesystem.sb, dev))) {
    const edit = (sb: Superblock) =>
      devs.filter(dev => isWritable(sb, dev)).reduce((edited, dev) => withState(edited, dev, RO), sb);
    for (const _ of editWritableSteps(writer, edit)) yield { movedBytes: 0, plannedBytes: plan.movedBytes };
  }
  const work = new Evacuation(writer, leaving, plan, options);
  if (options.types === undefined || options.types.includes('user')) yield* work.leaveStripes();
  for (const dev of leaving) yield* work.move(dev);
  if (options.types === undefined || options.types.includes('user')) yield* work.dropCached();
  work.finish();
  return work.report();
}

export function withState(sb: Superblock, dev: number, state: number): Superblock {
  return withMember(sb, dev, member => ({ ...member, flags: withBits([member.flags], memberBits.STATE, state)[0]! }));
}

/** The commits that it takes. */
class Evacuation {
  readonly #writer: FilesystemWriter;
  readonly #leaving: ReadonlySet<number>;
  readonly #plan: EvacuatePlan;
  readonly #keysPerCommit: number;
  readonly #moves: ReadonlySet<'user' | 'btree'>;
  readonly #sums = { sectors: 0, droppedSectors: 0, spareSectors: 0 };
  #commits = 0;
  #left: LeftKey[] = [];
  #leftCount = 0;

  constructor(
    writer: FilesystemWriter,
    leaving: ReadonlySet<number>,
    plan: EvacuatePlan,
    { keysPerCommit = KEYS_PER_COMMIT, types = ['user', 'btree'] }: EvacuateOptions,
  ) {
    this.#writer = writer;
    this.#leaving = leaving;
    this.#plan = plan;
    this.#keysPerCommit = keysPerCommit;
    this.#moves = new Set(types);
  }

  /** Data in stripes that have a block on the members. */
  *leaveStripes(): Generator<EvacuateProgress> {
    const waiting = [...leaningStripes(this.#writer.filesystem, { devs: this.#leaving })];
    let done = 0;
    yield* this.#inBatches((change, keysMax) => {
      if (done >= waiting.length) return undefined;
      const { filesystem } = this.#writer;
      const work = new StripeLeaving(
        change,
        filesystem,
        { devs: this.#leaving },
        countedDurability(filesystem, this.#leaving),
      );
      let next = done;
      while (next < waiting.length && work.keys < keysMax) {
        if (!work.leave(waiting[next]!, keysMax)) break;
        next++;
      }
      const { clocks } = filesystem.replay;
      return {
        isMore: true,
        extras: { clocks: { ...clocks, write: clocks.write + BigInt(work.sectors) } },
        onCommitted: () => {
          done = next;
          this.#sums.sectors += work.sectors;
          this.#sums.spareSectors += work.fewerSectors;
        },
      };
    });
  }

  /** Data and nodes of one member. */
  *move(dev: number): Generator<EvacuateProgress> {
    const device = allocDevices(this.#writer.filesystem.sb)[dev]!;
    let from = 0;
    yield* this.#inBatches((change, keysMax) => {
      const { filesystem } = this.#writer;
      const rules = new EvacuationRules(change, filesystem, this.#leaving);
      const rewrite: BucketNode[] = [];
      const copies = new CopyRuns(change.tx, dev);
      const sums = { sectors: 0, droppedSectors: 0, spareSectors: 0 };
      let keys = 0;
      let next = from;
      for (const contents of bucketContents(filesystem, device, from, device.bucketEnd)) {
        const nodes = this.#moves.has('btree') ? bucketNodes(filesystem, device, contents) : [];
        const cost = contents.references.length + KEYS_OF_NODE * nodes.length;
        if (keys > 0 && keys + cost > keysMax) break;
        keys += cost;
        next = contents.bucket + 1;
        rewrite.push(...nodes);
        if (!this.#moves.has('user')) continue;
        const { left, ...moved } = moveBucketData(change.tx, device, rules, contents, copies);
        for (const name of ['sectors', 'droppedSectors', 'spareSectors'] as const) sums[name] += moved[name];
      }
      if (keys === 0) return undefined;
      copies.flush();
      const { clocks } = filesystem.replay;
      return {
        isMore: true,
        extras: { rewrite: nodesToRewrite(rewrite), clocks: { ...clocks, write: clocks.write + BigInt(sums.sectors) } },
        onCommitted: () => {
          from = next;
          for (const name of ['sectors', 'droppedSectors', 'spareSectors'] as const) this.#sums[name] += sums[name];
        },
      };
    });
  }

  /** Cached copies, which backpointers do not lead to; also such as are stale by now. What else still points to the members is noted. */
  *dropCached(): Generator<EvacuateProgress> {
    let from: Place = { btree: 0, pos: undefined };
    yield* this.#inBatches((change, keysMax) => {
      let keys = 0;
      let next = from;
      for (const { btree, key, at } of pointingKeys(this.#writer.filesystem, this.#leaving, from)) {
        const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
        if (pointers.every(({ dev, cached }) => !cached || !this.#leaving.has(dev))) continue;
        const left = withPointers(key, ptr => (ptr.cached && this.#leaving.has(ptr.dev) ? undefined : ptr));
        change.tx.update(btree, left);
        next = at;
        if (++keys === keysMax) break;
      }
      if (keys === 0) return undefined;
      return {
        isMore: keys === keysMax,
        onCommitted: () => {
          from = next;
        },
      };
    });
  }

  /** Sets of devices that hold nothing any more leave the superblock; the journal's newest entry is on others by now. */
  finish(): void {
    if (this.#commits === 0) {
      this.#begin().commit();
      this.#commits++;
    }
    this.#findLeft();
    const { filesystem } = this.#writer;
    const isGone = (entry: ReplicasEntry) => holdsNothing(filesystem, entry, this.#leaving);
    if (withoutReplicas(filesystem.sb, isGone) === filesystem.sb) return;
    this.#writer.editSuperblocks(sb => withoutReplicas(sb, isGone));
  }

  report(): EvacuateReport {
    return {
      movedBytes: sectorsToBytes(this.#sums.sectors),
      droppedBytes: sectorsToBytes(this.#sums.droppedSectors),
      fewerCopiesBytes: sectorsToBytes(this.#sums.spareSectors),
      commits: this.#commits,
      left: this.#left,
      leftCount: this.#leftCount,
    };
  }

  #findLeft(): void {
    const { filesystem } = this.#writer;
    const note = (key: LeftKey) => {
      this.#leftCount++;
      if (this.#left.length < LEFT_LISTED) this.#left.push(key);
    };
    if (this.#moves.has('btree')) {
      for (const dev of this.#leaving) {
        const device = allocDevices(filesystem.sb)[dev]!;
        for (const { references } of bucketContents(filesystem, device, 0, device.bucketEnd))
          for (const reference of references) if (reference.level > 0) note({ ...reference, dev });
      }
    }
    if (!this.#moves.has('user')) return;
    for (const { btree, key } of pointingKeys(filesystem, this.#leaving, { btree: 0, pos: undefined })) {
      const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
      const dev = pointers.find(pointer => this.#leaving.has(pointer.dev))?.dev ?? 0;
      note({ btree, level: 0, pos: key.k.p, dev });
    }
  }

  #begin(): Change {
    return beginChange(this.#writer, { usesReserve: true, releasesEmptied: true });
  }

  *#inBatches(fill: (change: Change, keysMax: number) => Batch | undefined): Generator<EvacuateProgress> {
    for (const _ of inBatches(() => this.#begin(), fill, this.#keysPerCommit)) {
      this.#commits++;
      yield { movedBytes: sectorsToBytes(this.#sums.sectors), plannedBytes: this.#plan.movedBytes };
    }
  }
}

const JOURNAL = TYPE.journal;

/** Whether an entry of the superblock is of members that are to have nothing, and by the counters of the last commit have nothing of it. */
function holdsNothing(filesystem: FilesystemSource, entry: ReplicasEntry, leaving: ReadonlySet<number>): boolean {
  if (!entry.devs.some(dev => leaving.has(dev))) return false;
  return entry.data_type === JOURNAL || sectorsIn(filesystem, entry) === 0;
}

/** Where a walk over the keys of files has come to. */
interface Place {
  /** Among POINTING. */
  readonly btree: number;
  /** The last key that was seen. */
  readonly pos: Bpos | undefined;
}

const POINTING = ['extents', 'reflink'] as const;

/** Keys of files with pointers to some members, from a place on. */
export function* pointingKeys(
  source: FilesystemSource,
  devs: ReadonlySet<number>,
  from: Place,
): Generator<{ readonly btree: number; readonly key: Key; readonly at: Place }> {
  for (let nr = from.btree; nr < POINTING.length; nr++) {
    const name = POINTING[nr]!;
    const walk = nr === from.btree && from.pos !== undefined ? { from: from.pos } : {};
    for (const key of source.btree(name).keys(walk)) {
      const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
      if (!pointers.some(({ dev }) => devs.has(dev))) continue;
      yield { btree: btrees.idOf(name), key, at: { btree: nr, pos: key.k.p.slice() } };
    }
  }
}

/** Where data of members that are emptied goes. */
class EvacuationRules implements MoveRules {
  readonly #change: Change;
  readonly #leaving: ReadonlySet<number>;
  readonly #options: DataOptions;
  /** How many copies one on each device counts for, where it counts. */
  readonly #durability: readonly number[];
  readonly #judge: CopyJudge;

  constructor(change: Change, filesystem: Filesystem, leaving: ReadonlySet<number>) {
    this.#change = change;
    this.#leaving = leaving;
    this.#options = new DataOptions(change.tx);
    this.#judge = new CopyJudge(change.tx);
    this.#durability = countedDurability(filesystem, leaving);
  }

  isWanted(key: Key, { dev }: SpacePointer, btree: number): boolean {
    const kept = this.#kept(key);
    if (kept === 0) return true;
    const own = this.#change.triggers.devices[dev]?.durability ?? 0;
    return Math.min(own, this.#options.of(btree, key).replicas - kept) > 0 || !this.#isCovered(key, dev);
  }

  place(sectors: number, keys: readonly Key[], btree: number) {
    const without = new Set<number>();
    for (const key of keys) for (const { dev, cached } of pointersOf(key)) if (!cached) without.add(dev);
    for (const dev of this.#leaving) without.add(dev);
    const { target } = this.#options.of(btree, keys[0]!);
    return this.#change.allocator.allocateMoved({ sectors, target, without });
  }

  isSpare(key: Key, { dev }: SpacePointer): boolean {
    return this.#kept(key) > 0 && this.#isCovered(key, dev);
  }

  /** A copy goes only when one that stays is what was written, or when it is as bad as those. */
  #isCovered(key: Key, dev: number): boolean {
    const content = extentContent(key);
    if (content.kind !== 'data') return true;
    const copies = replicasOf(content.entries, key.k).filter(({ ptr }) => !ptr.cached);
    const isGood = (copy: Replica) => this.#judge.isGood(key.k, copy);
    const staying = copies.filter(({ ptr }) => (this.#durability[ptr.dev] ?? 0) > 0);
    return staying.some(isGood) || !copies.filter(({ ptr }) => ptr.dev === dev).some(isGood);
  }

  #kept(key: Key): number {
    return pointersOf(key).reduce((sum, { dev, cached }) => sum + (cached ? 0 : (this.#durability[dev] ?? 0)), 0);
  }
}

const pointersOf = (key: Key): readonly SpacePointer[] => spacePointers(entryBytesOf(key), key.k.size).pointers;
