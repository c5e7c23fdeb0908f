// The passes check_allocations, check_alloc_info, check_lrus, check_btree_backpointers, check_backpointers_to_extents,
// check_extents_to_backpointers and check_alloc_to_lru_refs, together: everything that follows from pointers is counted anew and compared.
//
// Needs: btrees whose nodes are where they should be. Errors: those of check/recount.ts. Memory: see there and derived-keys.ts.
// Repair: generations of buckets follow their pointers where no pointer contradicts; pointers that cannot be right are dropped, the last
// one of a key with a key of type error in its place; counts of references are set. Then all derived btrees are built anew in one go.
// Source: bch2_check_fix_ptrs and bch2_gc_write_reflink_key in buckets.c and btree_gc.c, v1.13.0; the repair is our own.

import { familyOfType, ioTime, TYPE } from '../alloc/bucket-state.ts';
import { entryBytesOf, type SpacePointer, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import { SuperblockNeeds } from '../alloc/superblock-needs.ts';
import type { NodeAllocator } from '../btree/node-store.ts';
import { deletedKey, makeKey } from '../btree/transaction.ts';
import { type BtreeReplacement, stageBtrees } from '../change/btree-replacement.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { AllBuckets } from '../check/alloc.ts';
import { GC_GEN_MAX, genDifference, HAS_KEY, rowOf } from '../check/buckets.ts';
import { Recount } from '../check/recount.ts';
import type { ReflinkGap } from '../check/reflink.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposInode, bposOffsetNumber, makeBpos } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { type FaultName, faultOf } from '../ondisk/faults.ts';
import { BUCKET_GENS_PER_KEY } from '../ondisk/keys/bucket-gens.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { BLOCKCOUNT_MAX, stripe, withBlockcount } from '../ondisk/keys/stripe.ts';
import { viewOf } from '../ondisk/layout.ts';
import { MEMBER_INVALID } from '../ondisk/member-states.ts';
import type { PassName } from '../ondisk/passes.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { FilesystemState } from '../opened/filesystem.ts';
import type { Finding } from '../report/finding.ts';
import type { Reporter } from '../report/reporter.ts';
import { DerivedKeys, derivedBtrees, derivedIds, settleBuckets } from './derived-keys.ts';
import { concerns, type Missing } from './missing-members.ts';
import type { PassContext } from './pass.ts';
import { errorKey, type RawChange, stageRaw } from './raw-changes.ts';
import { keysOfLeaves, surveyBtree } from './topology.ts';

const REFLINK = btrees.idOf('reflink');
const STRIPES = btrees.idOf('stripes');
const EXTENTS = btrees.idOf('extents');
const ERROR = keyTypes.idOf('error');
const BUCKET_GENS = keyTypes.idOf('bucket_gens');

/** Above what replaced nodes have: see BuildSettings. */
const GENERATION = 2 ** 20;

/** Findings about pointers, not about what is derived from them. */
const POINTER_FAULTS: ReadonlySet<FaultName> = new Set<FaultName>([
  'ptr_to_invalid_device',
  'ptr_gen_newer_than_bucket_gen',
  'ptr_too_stale',
  'stale_dirty_ptr',
  'ptr_bucket_data_type_mismatch',
  'ptr_to_missing_alloc_key',
  'alloc_key_oldest_gen_wrong',
]);

/** What is so until the commit: the superblock's map of nodes, and the number of the journal entry. */
const UNTIL_COMMIT: ReadonlySet<FaultName> = new Set<FaultName>([
  'btree_bitmap_not_marked',
  'alloc_key_journal_seq_in_future',
  'ptr_to_missing_replicas_entry',
  'accounting_replicas_not_marked',
]);

/** What keys say that are not built anew: nothing else repairs them. */
const IN_KEYS: ReadonlySet<FaultName> = new Set<FaultName>([
  'reflink_v_refcount_wrong',
  'reflink_p_to_missing_reflink_v',
  'ptr_to_missing_stripe',
  'ptr_to_incorrect_stripe',
  'stripe_sector_count_wrong',
]);

/** Not repaired here: by looking at the data of those who claim the bucket (double-claims.ts), or not at all. */
const UNREPAIRED: ReadonlySet<FaultName> = new Set<FaultName>([
  'bucket_sector_count_overflow',
  'bucket_metadata_type_mismatch',
  'btree_node_overlap',
  'btree_ptr_v2_written_0',
  'stripe_bucket_shared',
]);

export interface AllocationsOptions {
  readonly reporter: Reporter;
  readonly drop: PassContext['drop'];
  /** Derived btrees that cannot be read. */
  readonly lost: ReadonlySet<BtreeName>;
  /** Btrees were built or changed, and what follows from that was not said. */
  readonly isForced: boolean;
  /** Parts were staged: the superblock that is read does not say yet what it will. */
  readonly isStaged: boolean;
  /** Members that are not there: what they would show is not found. */
  readonly missing: Missing;
  /** Members that were given up: what leads to them goes, which was agreed. */
  readonly gone: Missing;
  /** Called with what is not repaired here: passes over files may do that yet. */
  readonly onUnrepaired: (found: Finding, pass: PassName | undefined) => void;
  /** Called with buckets of which two keys claim the same sectors, as `dev:bucket`. */
  readonly onContested: (bucket: string) => void;
  /** Gives room that nothing takes. */
  readonly allocator: () => NodeAllocator;
}

/**
 * Compares, and stages what was decided to be repaired.
 * @returns what the superblock has to say with it; undefined when nothing was staged
 */
export function repairAllocations(
  writer: FilesystemWriter,
  options: AllocationsOptions,
): ((sb: Superblock) => Superblock) | undefined {
  const { reporter, lost } = options;
  const wanted = new Set<FaultName>();
  const base = lost.has('alloc') ? (buckets: AllBuckets) => readGens(writer.filesystem, buckets) : undefined;
  const recount = new Recount(writer.filesystem, {
    ...(base === undefined ? {} : { correct: base }),
    onFinding(found, pass) {
      // Nodes were judged before, each with what is to be done about it.
      if (found instanceof CorruptError || found instanceof DeviceError) return;
      if (found.error.startsWith('btree_node_topology') || found.error === 'btree_node_seq_shared') return;
      if (options.isStaged && UNTIL_COMMIT.has(found.error)) return;
      if (concerns(found, options.missing) || concerns(found, options.gone)) return;
      // What was built or changed before has made it so: it is repaired without a word.
      if (options.isForced && faultOf(found.error).severity === 'warning' && !IN_KEYS.has(found.error)) return;
      if (found.error === 'bucket_sector_count_overflow') {
        const [dev, bucket] = (found.where.pos ?? '').split(':');
        options.onContested(`${dev}:${bucket}`);
      }
      if (UNREPAIRED.has(found.error)) options.onUnrepaired(found, pass);
      else if (reporter.found(found, pass === undefined ? {} : { pass }) === 'fix') wanted.add(found.error);
    },
  });
  recount.compare(lost);
  if (wanted.size === 0 && !options.isForced) return undefined;
  const allocator = options.allocator();
  let correct = base;
  let references = recount;
  if (isAnyOf(wanted, POINTER_FAULTS) || options.isForced) {
    const votes = votesOf(recount);
    correct = buckets => {
      base?.(buckets);
      applyVotes(buckets, votes, recount.buckets);
    };
    const { hasLostShared, misled } = dropPointers(
      writer,
      new Recount(writer.filesystem, { correct }),
      options,
      allocator,
    );
    for (const btree of misled) rebuildNodes(writer, btree, allocator);
    if (hasLostShared) references = new Recount(writer.filesystem, { correct });
  }
  if (wanted.has('reflink_p_to_missing_reflink_v') || references !== recount) {
    cutReferences(writer, references, options, allocator);
    references = new Recount(writer.filesystem, correct === undefined ? {} : { correct });
  }
  if (wanted.has('reflink_v_refcount_wrong') || references !== recount) setReferences(writer, references, allocator);
  const isLeaving = wanted.has('ptr_to_missing_stripe') || wanted.has('ptr_to_incorrect_stripe');
  if (isLeaving)
    leaveStripes(writer, new Recount(writer.filesystem, correct === undefined ? {} : { correct }), allocator);
  if (wanted.has('stripe_sector_count_wrong') || isLeaving || references !== recount || options.isForced)
    setBlockcounts(writer, new Recount(writer.filesystem, correct === undefined ? {} : { correct }), allocator);
  return rebuildDerived(writer, allocator, correct, options.onContested);
}

const isAnyOf = (names: ReadonlySet<FaultName>, others: ReadonlySet<FaultName>): boolean =>
  [...names].some(name => others.has(name));

/** All derived btrees anew. */
function rebuildDerived(
  writer: FilesystemWriter,
  allocator: NodeAllocator,
  correct: ((buckets: AllBuckets) => void) | undefined,
  onContested: (bucket: string) => void,
): (sb: Superblock) => Superblock {
  const recount = new Recount(writer.filesystem, {
    without: derivedIds,
    ...(correct === undefined ? {} : { correct }),
  });
  settleBuckets(recount.buckets);
  const { sb, replay } = writer.filesystem;
  const needs = new SuperblockNeeds(sb);
  for (const entry of recount.counters.replicasInUse()) needs.addReplicas(entry);
  for (const { index, hasFreespace } of recount.context.devices.values())
    if (!hasFreespace) needs.addFreespaceReady(index);
  recount.eachPointing((_, level, key) => {
    if (level === 0) return;
    for (const { dev, offset } of spacePointers(entryBytesOf(key), 0).pointers)
      if (recount.buckets.has(dev)) needs.addNode(dev, offset, recount.context.nodeSectors);
  });
  const keys = new DerivedKeys(recount, {
    journalSeq: writer.nextSeq,
    readClock: ioTime(replay.clocks.read),
    onContested: (dev, bucket) => onContested(`${dev}:${bucket}`),
  });
  const generation = newestGeneration(writer.filesystem) + GENERATION;
  const replacements = derivedBtrees.map(
    (btree): BtreeReplacement => ({
      btree,
      keys: () => keys.keysOf(btree),
      gone: [],
      generation: Math.min(generation, 2 ** 32 - 1),
    }),
  );
  stageBtrees(writer, replacements, { allocator });
  return state => needs.applyTo(state);
}

function newestGeneration(filesystem: FilesystemWriter['filesystem']): number {
  let newest = 0;
  for (const name of derivedBtrees) {
    const view = filesystem.btree(name);
    if (view.root?.key === undefined) continue;
    for (const node of view.nodes({ level: view.root.level, onDamage: () => {} }))
      newest = Math.max(newest, node.generation);
  }
  return newest;
}

/** Where alloc keys are lost, the generations of buckets are still in bucket_gens. */
export function readGens(state: FilesystemState, buckets: AllBuckets): void {
  for (const { k, value } of state.btree('bucket_gens').keys({ onDamage: () => {} })) {
    const own = buckets.get(k.p[3]!);
    if (own === undefined || k.type !== BUCKET_GENS || value.length < BUCKET_GENS_PER_KEY) continue;
    const start = (k.p[2]! * 2 ** 32 + k.p[1]!) * BUCKET_GENS_PER_KEY;
    for (let i = 0; i < BUCKET_GENS_PER_KEY; i++) {
      if (value[i] === 0 || !own.has(start + i)) continue;
      const page = own.page(start + i);
      const row = rowOf(start + i);
      if ((page.flags[row]! & HAS_KEY) !== 0) continue;
      page.flags[row] = page.flags[row]! | HAS_KEY;
      page.gen[row] = value[i]!;
      page.oldestGen[row] = value[i]!;
    }
  }
}

/** Generations of pointers into a bucket that are not its own. */
interface Votes {
  readonly dev: number;
  readonly bucket: number;
  /** The newest of those that are not cached; undefined when all are. */
  dirty: number | undefined;
  cached: number | undefined;
  oldest: number;
}

function votesOf(recount: Recount): ReadonlyMap<string, Votes> {
  const votes = new Map<string, Votes>();
  recount.eachPointing((_, __, key) => {
    for (const pointer of spacePointers(entryBytesOf(key), key.k.size).pointers) {
      const place = placeOf(recount.buckets, pointer);
      if (place === undefined) continue;
      const { page, row, bucket } = place;
      const isKnown = (page.flags[row]! & HAS_KEY) !== 0;
      if (isKnown && page.gen[row] === pointer.gen && genDifference(page.oldestGen[row]!, pointer.gen) <= 0) continue;
      const id = `${pointer.dev}:${bucket}`;
      let known = votes.get(id);
      if (known === undefined) {
        known = { dev: pointer.dev, bucket, dirty: undefined, cached: undefined, oldest: pointer.gen };
        votes.set(id, known);
      }
      const kind = pointer.cached ? 'cached' : 'dirty';
      const newest = known[kind];
      if (newest === undefined || genDifference(pointer.gen, newest) > 0) known[kind] = pointer.gen;
      if (genDifference(pointer.gen, known.oldest) < 0) known.oldest = pointer.gen;
    }
  });
  return votes;
}

/** @param counted where pointers of the noted generations were counted */
function applyVotes(buckets: AllBuckets, votes: ReadonlyMap<string, Votes>, counted: AllBuckets): void {
  for (const { dev, bucket, dirty, cached, oldest } of votes.values()) {
    const own = buckets.get(dev);
    const seen = counted.get(dev)?.page(bucket);
    if (own === undefined || seen === undefined) continue;
    const page = own.page(bucket);
    const row = rowOf(bucket);
    const isOwned = seen.markDirty[row]! + seen.markStriped[row]! !== 0;
    const isKnown = (page.flags[row]! & HAS_KEY) !== 0;
    if (!isOwned && dirty !== undefined) page.gen[row] = dirty;
    else if (!isOwned && !isKnown && cached !== undefined) page.gen[row] = cached;
    if (!isKnown) page.oldestGen[row] = page.gen[row]!;
    page.flags[row] = page.flags[row]! | HAS_KEY;
    const age = genDifference(page.gen[row]!, oldest);
    if (age >= 0 && age <= GC_GEN_MAX && genDifference(page.oldestGen[row]!, oldest) > 0) page.oldestGen[row] = oldest;
    if (genDifference(page.oldestGen[row]!, page.gen[row]!) > 0) page.oldestGen[row] = page.gen[row]!;
  }
}

function placeOf(buckets: AllBuckets, { dev, offset }: Pick<SpacePointer, 'dev' | 'offset'>) {
  const own = buckets.get(dev);
  if (own === undefined || own.device.bucketSizeSectors === 0) return undefined;
  const bucket = Math.floor(offset / own.device.bucketSizeSectors);
  if (!own.has(bucket)) return undefined;
  return { own, bucket, page: own.page(bucket), row: rowOf(bucket) };
}

interface Dropped {
  /** Shared data has lost its last pointer: references to it are to be cut. */
  readonly hasLostShared: boolean;
  /** Btrees that can be read, with pointers to nodes that contradict the buckets. */
  readonly misled: ReadonlySet<number>;
}

/** Pointers that cannot be right. */
function dropPointers(
  writer: FilesystemWriter,
  recount: Recount,
  { drop }: AllocationsOptions,
  allocator: NodeAllocator,
): Dropped {
  const { buckets } = recount;
  const misled = new Set<number>();
  let hasLostShared = false;
  const changed: { readonly btree: number; readonly key: Key }[] = [];
  recount.eachPointing((btree, level, key) => {
    const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
    if (level > 0) {
      if (!derivedIds.has(btree) && pointers.some(pointer => isOfOtherGen(buckets, pointer))) misled.add(btree);
      return;
    }
    const isBad = (pointer: Pick<SpacePointer, 'dev' | 'offset' | 'gen' | 'cached'>) => badPointer(buckets, pointer);
    if (!pointers.some(isBad)) return;
    const kept = withPointers(key, pointer => (isBad(pointer) ? undefined : pointer));
    const hasLeft = spacePointers(entryBytesOf(kept), key.k.size).pointers.some(({ cached }) => !cached);
    const p = key.k.p.slice();
    if (hasLeft) changed.push({ btree, key: makeKey(kept.k.type, p, kept.value, kept.k) });
    // Room that was never written to reads as zeroes, as a hole does.
    else if (pointers.every(({ unwritten }) => unwritten)) changed.push({ btree, key: deletedKey(p) });
    else {
      drop(btree, key, 'no pointer of it leads to its data');
      // What refers to shared data says itself that it is lost.
      if (btree === REFLINK) hasLostShared = true;
      changed.push({ btree, key: btree === REFLINK ? deletedKey(p) : errorKey(key) });
    }
  });
  stageRaw(writer, allocator, changed);
  return { hasLostShared, misled };
}

/** The nodes of a btree are what their pointers say, and only what the pointers say of buckets is wrong: others are made. */
function rebuildNodes(writer: FilesystemWriter, btree: number, allocator: NodeAllocator): void {
  const { leaves, generation } = surveyBtree(writer.filesystem, btree);
  const keys = keysOfLeaves(writer.filesystem, btree, leaves);
  writer.build(btree, keys, allocator, Math.min(generation + GENERATION, 2 ** 32 - 1));
}

function isOfOtherGen(buckets: AllBuckets, pointer: Pick<SpacePointer, 'dev' | 'offset' | 'gen'>): boolean {
  const place = placeOf(buckets, pointer);
  return place !== undefined && place.page.gen[place.row] !== pointer.gen;
}

function badPointer(buckets: AllBuckets, pointer: Pick<SpacePointer, 'dev' | 'offset' | 'gen' | 'cached'>): boolean {
  if (pointer.dev === MEMBER_INVALID) return false;
  const place = placeOf(buckets, pointer);
  if (place === undefined) return true;
  const { page, row } = place;
  const age = genDifference(page.gen[row]!, pointer.gen);
  if (age < 0 || (pointer.cached ? age > GC_GEN_MAX : age > 0)) return true;
  if (age > 0) return false;
  const type = page.markType[row]!;
  return (
    type === TYPE.sb || type === TYPE.journal || type === TYPE.btree || familyOfType(type) !== familyOfType(TYPE.user)
  );
}

/** References to what is missing: that part of the file is an error from now on, and the rest stays. */
function cutReferences(
  writer: FilesystemWriter,
  recount: Recount,
  { drop }: AllocationsOptions,
  allocator: NodeAllocator,
): void {
  const changed: { readonly btree: number; readonly key: Key }[] = [];
  for (const { key, gaps } of recount.brokenReferences()) {
    drop(EXTENTS, key, 'some of the shared data that it refers to is missing');
    for (const piece of piecesOf(key, gaps)) changed.push({ btree: EXTENTS, key: piece });
  }
  stageRaw(writer, allocator, changed);
}

/** @param gaps in order */
function* piecesOf({ k, value }: Key, gaps: readonly ReflinkGap[]): Generator<Key> {
  const reference = reflinkP.decode(value);
  const first = Number(reference.idx);
  const start = bposOffsetNumber(k.p) - k.size;
  const posOf = (sector: number) => makeBpos(bposInode(k.p), BigInt(start + sector - first), k.p[0]!);
  let at = first;
  for (const gap of [...gaps, { start: first + k.size, end: first + k.size }]) {
    const [from, to] = [gap.start, gap.end].map(one => Math.min(Math.max(one, first), first + k.size)) as [
      number,
      number,
    ];
    // Pads are for what was split later: what is left needs none.
    const idx = BigInt(at);
    const kept = reflinkP.encode({ ...reference, idx, front_pad: 0, back_pad: 0 });
    if (from > at) yield makeKey(k.type, posOf(from), kept, { ...k, size: from - at });
    if (to > from) yield makeKey(ERROR, posOf(to), new Uint8Array(0), { size: to - from });
    at = Math.max(at, to);
  }
}

/** Pointers that say that they are in a stripe, which does not know of them: the data stays, and is in none. */
function leaveStripes(writer: FilesystemWriter, recount: Recount, allocator: NodeAllocator): void {
  const changed: RawChange[] = [];
  recount.eachPointing((btree, level, key) => {
    if (level > 0 || !recount.isInWrongStripe(key)) return;
    const left = withPointers(
      key,
      pointer => pointer,
      pointer => !recount.isInWrongStripe(key, pointer),
    );
    changed.push({ btree, key: makeKey(left.k.type, key.k.p.slice(), left.value, left.k) });
  });
  stageRaw(writer, allocator, changed);
}

/** How many sectors of each block of a stripe are in use: what the pointers into it add up to. */
function setBlockcounts(writer: FilesystemWriter, recount: Recount, allocator: NodeAllocator): void {
  const changed: RawChange[] = [];
  const view = writer.filesystem.btree('stripes');
  for (const { nr, used } of recount.wrongStripes()) {
    const pos = makeBpos(0n, BigInt(nr), 0);
    const key = view.get(pos, { onDamage: () => {} });
    if (key === undefined) continue;
    let { value } = key;
    for (const [block, sectors] of used.entries())
      value = withBlockcount(stripe.decode(value), block, Math.min(sectors, BLOCKCOUNT_MAX)) ?? value;
    changed.push({ btree: STRIPES, key: makeKey(key.k.type, pos, value, key.k) });
  }
  if (changed.length > 0) stageRaw(writer, allocator, changed);
}

function setReferences(writer: FilesystemWriter, recount: Recount, allocator: NodeAllocator): void {
  const changed: { readonly btree: number; readonly key: Key }[] = [];
  const view = writer.filesystem.btree('reflink');
  for (const { end, count } of recount.wrongReferences()) {
    const pos = makeBpos(0n, BigInt(end), 0);
    const key = view.get(pos, { onDamage: () => {} });
    if (key === undefined) continue;
    if (count === 0) {
      changed.push({ btree: REFLINK, key: deletedKey(pos) });
      continue;
    }
    const value = key.value.slice();
    viewOf(value).setBigUint64(0, BigInt(count), true);
    changed.push({ btree: REFLINK, key: makeKey(key.k.type, pos, value, key.k) });
  }
  stageRaw(writer, allocator, changed);
}
