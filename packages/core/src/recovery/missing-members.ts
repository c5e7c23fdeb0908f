// What a check does without some of the members. Nothing is concluded from what only they would show: nodes without another copy are named as
// not checkable, and then nothing is repaired at all, since what is in such a node may need whatever would be freed. Findings about their
// buckets, pointers into these, and counters of these are theirs to answer, and are left out.
//
// When they are given up, everything is listed first that is lost with them: nodes by btree, data by path. Then their slots in the superblock
// are emptied, as a kernel does when it removes a device, and all that leads to them is what leads to no member: topology.ts and
// allocations.ts repair that.
//
// Memory: the sectors of the reflink btree that are lost, and what a tree of files keeps.
// Source: bch2_dev_remove in super.c, v1.13.0.

import { entryBytesOf, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import type { GivenBuckets } from '../alloc/given-buckets.ts';
import { deletedKey } from '../btree/transaction.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { entriesOf, type Pointer, pointersOf } from '../check/pointers.ts';
import { BucketGens } from '../data/bucket-gens.ts';
import { StripeReader } from '../data/stripes.ts';
import { FileTree } from '../fs/file-tree.ts';
import { pathsOf } from '../fs/paths.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposInode, bposOffsetNumber, bposSnapshot, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { CorruptError, DeviceError, UsageError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { stripe } from '../ondisk/keys/stripe.ts';
import { MEMBER_NIL_UUID, memberAt, withMember } from '../ondisk/sb-fields/members.ts';
import { encodeReplicas, replicas } from '../ondisk/sb-fields/replicas.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Finding, findingOf } from '../report/finding.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { type MemberSet, memberSetOf, memberText } from '../superblock/member-set.ts';
import { printableBytes } from '../util/byte-text.ts';
import { roundUp, sectorsToBytes } from '../util/sizes.ts';
import { type RawChange, stageRaw } from './raw-changes.ts';
import { surveyBtree } from './topology.ts';

const REFLINK_P = keyTypes.idOf('reflink_p');
const STRIPE = keyTypes.idOf('stripe');
const JOURNAL = dataTypes.idOf('journal');

/** Members by index. */
export type Missing = ReadonlySet<number>;

/** Metadata that cannot be judged without the members that are missing. */
export function* uncheckable(filesystem: Filesystem, missing: Missing): Generator<Finding> {
  const { replay, sb } = filesystem;
  if (replay.from === 'journal') {
    const only = replicas(sb).filter(
      ({ data_type, devs }) => data_type === JOURNAL && devs.every(dev => missing.has(dev)),
    );
    const gap = replay.problems.find(({ error }) => error === 'journal_entries_missing');
    if (only.length > 0 || gap !== undefined) {
      const lost = gap === undefined ? 'part of its journal is only' : `${gap.detail}, which may be`;
      const detail = `it was not unmounted, and ${lost} on ${namesOf(sb, missing)}`;
      yield findingOf({ error: 'journal_on_missing_member', detail }, { field: 'replicas' });
    }
  }
  for (const id of [...replay.roots.keys()].sort((a, b) => a - b)) {
    if (btrees.byId(id) === undefined) continue;
    const { onMissing, gaps } = surveyBtree(filesystem, id, { missing });
    yield* onMissing;
    if (onMissing.length > 0) continue;
    // Nodes that were there before may be on any member.
    for (const { min, max } of gaps) {
      const detail = `no node is here for the positions from ${bposText(min)}; one may be on ${namesOf(sb, missing)}`;
      yield findingOf(
        { error: 'btree_node_on_missing_member', detail },
        { btree: btrees.nameOf(id), pos: bposText(max) },
      );
    }
  }
}

/** All that is lost when the missing members are given up, the members themselves first. */
export function* lossWith(filesystem: Filesystem, missing: Missing): Generator<Finding> {
  for (const index of missing) {
    const detail = `${memberText(filesystem.sb, index)} is missing: everything that only it has is lost without it`;
    yield findingOf({ error: 'member_given_up', detail }, { field: `members_v2 ${index}` });
  }
  yield* uncheckable(filesystem, missing);
  yield* lostData(filesystem, missing);
}

const namesOf = (sb: Superblock, missing: Missing): string =>
  [...missing].map(index => memberText(sb, index)).join(', ');

/** The files that have lost data, one finding for each inode of each snapshot. */
function* lostData(filesystem: Filesystem, missing: Missing): Generator<Finding> {
  const walk = { onDamage: () => {} };
  const shared: { readonly start: number; readonly end: number }[] = [];
  for (const key of filesystem.btree('reflink').keys(walk)) {
    if (!isLost(key, missing)) continue;
    const end = bposOffsetNumber(key.k.p);
    shared.push({ start: end - key.k.size, end });
  }
  const paths = new PathFinder(filesystem);
  let current: { readonly key: Key; sectors: number } | undefined;
  const finish = function* (): Generator<Finding> {
    if (current === undefined) return;
    const { p } = current.key.k;
    const path = paths.pathOf(bposInode(p), bposSnapshot(p));
    const where = {
      btree: 'extents',
      pos: `${bposInode(p)}:0:${bposSnapshot(p)}`,
      ...(path === undefined ? {} : { path }),
    };
    const detail = `${sectorsToBytes(current.sectors)} bytes of it are only on ${namesOf(filesystem.sb, missing)}`;
    yield findingOf({ error: 'data_on_missing_member', detail }, where);
  };
  for (const key of filesystem.btree('extents').keys(walk)) {
    const sectors = isLost(key, missing) ? key.k.size : key.k.type === REFLINK_P ? overlapOf(key, shared) : 0;
    if (sectors === 0) continue;
    if (current !== undefined && isOfOneFile(current.key, key)) {
      current.sectors += sectors;
      continue;
    }
    yield* finish();
    current = { key: { k: { ...key.k, p: key.k.p.slice() }, value: key.value }, sectors };
  }
  yield* finish();
}

const isOfOneFile = (a: Key, b: Key): boolean =>
  bposInode(a.k.p) === bposInode(b.k.p) && bposSnapshot(a.k.p) === bposSnapshot(b.k.p);

/** Whether data was written that no member has any more, nor the blocks of a stripe. */
function isLost(key: Key, missing: Missing): boolean {
  const { pointers } = spacePointers(entryBytesOf(key), key.k.size);
  const copies = pointers.filter(({ cached }) => !cached);
  return (
    copies.length > 0 &&
    copies.every(({ dev, unwritten, stripe: block }) => missing.has(dev) && !unwritten && block === undefined)
  );
}

/** Sectors of a reference to shared data that are lost. @param lost in order */
function overlapOf({ k, value }: Key, lost: readonly { readonly start: number; readonly end: number }[]): number {
  if (value.length < reflinkP.minBytes) return 0;
  const start = Number(reflinkP.decode(value).idx);
  let low = 0;
  for (let high = lost.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (lost[middle]!.end <= start) low = middle + 1;
    else high = middle;
  }
  let sectors = 0;
  for (let i = low; i < lost.length && lost[i]!.start < start + k.size; i++)
    sectors += Math.min(lost[i]!.end, start + k.size) - Math.max(lost[i]!.start, start);
  return sectors;
}

/** Names of inodes, as far as backpointers say them. */
class PathFinder {
  readonly #filesystem: Filesystem;
  #table: SnapshotTable | undefined;
  readonly #trees = new Map<number, FileTree | undefined>();

  constructor(filesystem: Filesystem) {
    this.#filesystem = filesystem;
  }

  pathOf(inum: bigint, snapshot: number): string | undefined {
    this.#table ??= SnapshotTable.read(this.#filesystem, { onDamage: () => {} });
    const table = this.#table;
    const seeing = table
      .subvolumes()
      .find(one => one.snapshot === snapshot || table.isAncestor(one.snapshot, snapshot));
    const tree = this.#tree(seeing?.id ?? 1);
    if (tree === undefined) return undefined;
    try {
      const [found] = pathsOf(tree, inum, { search: 'none' });
      return found === undefined || !found.isWhole ? undefined : `/${printableBytes(found.path)}`;
    } catch (thrown) {
      // A name that cannot be read is none; the inode is named by its number.
      if (thrown instanceof CorruptError || thrown instanceof DeviceError) return undefined;
      throw thrown;
    }
  }

  #tree(subvolume: number): FileTree | undefined {
    if (this.#trees.has(subvolume)) return this.#trees.get(subvolume);
    let tree: FileTree | undefined;
    try {
      tree = FileTree.open(this.#filesystem, {
        subvolume,
        ...(this.#table === undefined ? {} : { table: this.#table }),
        onDamage: () => {},
      });
    } catch (thrown) {
      if (!(thrown instanceof CorruptError || thrown instanceof DeviceError || thrown instanceof UsageError))
        throw thrown;
    }
    this.#trees.set(subvolume, tree);
    return tree;
  }
}

/** The members with superblocks that know nothing of those that are given up. */
export function withoutMembers(set: MemberSet, gone: Missing): MemberSet {
  return memberSetOf(set.members.map(member => ({ ...member, sb: withoutSlots(member.sb, gone) })));
}

function withoutSlots(sb: Superblock, gone: Missing): Superblock {
  let changed = sb;
  for (const index of gone)
    if (memberAt(changed, index) !== undefined)
      changed = withMember(changed, index, member => ({ ...member, uuid: MEMBER_NIL_UUID }));
  const field = (['replicas', 'replicas_v0'] as const).find(name => sectionPayload(changed, name) !== undefined);
  if (field === undefined) return changed;
  const left = replicas(changed).filter(({ devs }) => !devs.some(dev => gone.has(dev)));
  return withSection(changed, field, encodeReplicas(left, field));
}

/**
 * Blocks of stripes that are on members which were given up: what the other blocks say of them is written elsewhere, and these stripes end.
 * What follows from pointers is to be counted anew afterwards.
 * @param given gives room that nothing takes
 * @throws NoSpaceError
 */
export function leaveStripes(writer: FilesystemWriter, gone: Missing, given: () => GivenBuckets): void {
  const { filesystem } = writer;
  const ended = new Map<number, Key>();
  for (const key of filesystem.btree('stripes').keys({ onDamage: () => {} })) {
    if (key.k.type !== STRIPE || key.value.length < stripe.minBytes) continue;
    if (stripe.decode(key.value).ptrs.some(({ dev }) => gone.has(dev)))
      ended.set(bposOffsetNumber(key.k.p), { k: { ...key.k, p: key.k.p.slice() }, value: key.value.slice() });
  }
  if (ended.size === 0) return;
  const allocator = given();
  const reader = new StripeReader(filesystem, new BucketGens(filesystem, () => {}));
  const changed: RawChange[] = [];
  for (const name of ['extents', 'reflink'] as const) {
    const btree = btrees.idOf(name);
    for (const key of filesystem.btree(name).keys({ onDamage: () => {} })) {
      const pointers = pointersOf(entriesOf(key), key.k.size);
      if (!pointers.some(({ stripe: block }) => block !== undefined && ended.has(block.idx))) continue;
      const moved = new Map<string, ExtentPtr>();
      for (const pointer of pointers) {
        if (!gone.has(pointer.ptr.dev)) continue;
        const taken = [...pointers.flatMap(({ ptr }) => (ptr.cached ? [] : [ptr.dev])), ...devicesOf(moved)];
        const to = rebuilt(filesystem, reader, allocator, { name, pos: key.k.p, pointer, taken });
        if (to !== undefined) moved.set(placeOf(pointer.ptr), to);
      }
      const left = withPointers(
        key,
        // No key has two pointers to one device, and a cached copy is one too many.
        ptr => moved.get(placeOf(ptr)) ?? (ptr.cached && devicesOf(moved).includes(ptr.dev) ? undefined : ptr),
        () => false,
      );
      changed.push({ btree, key: { k: { ...left.k, p: left.k.p.slice() }, value: left.value } });
    }
  }
  for (const { k } of ended.values()) changed.push({ btree: btrees.idOf('stripes'), key: deletedKey(k.p) });
  stageRaw(writer, allocator, changed);
}

const devicesOf = (places: ReadonlyMap<string, ExtentPtr>): readonly number[] =>
  [...places.values()].map(({ dev }) => dev);

const placeOf = ({ dev, offset }: ExtentPtr): string => `${dev}:${offset}`;

interface Rebuilding {
  readonly name: string;
  readonly pos: Bpos;
  readonly pointer: Pointer;
  /** Devices that have a copy. */
  readonly taken: readonly number[];
}

/** A block of a stripe as the others give it, where it is from now on. @returns undefined where they are not enough */
function rebuilt(
  filesystem: Filesystem,
  reader: StripeReader,
  allocator: GivenBuckets,
  { name, pos, pointer, taken }: Rebuilding,
): ExtentPtr | undefined {
  const { ptr, crc, stripe: stripePtr } = pointer;
  if (stripePtr === undefined || ptr.cached || ptr.unwritten) return undefined;
  const sectors = roundUp(crc.compressed_size, filesystem.sb.block_size);
  const bytes = new Uint8Array(sectorsToBytes(sectors));
  try {
    const where = { btree: name, pos: bposText(pos) };
    reader.rebuild({ stripePtr, ptr, skipSectors: 0, where }, bytes);
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return undefined;
    throw thrown;
  }
  const [first = 0] = filesystem.set.members.map(({ sb }) => sb.dev_idx);
  const to = allocator.allocateData(first, sectors, taken);
  if (to === undefined) return undefined;
  filesystem.device(to.dev)?.write(sectorsToBytes(to.offset), bytes);
  return to;
}

/** Btrees whose positions begin with a device. */
const BY_DEVICE: ReadonlySet<string> = new Set(['alloc', 'freespace', 'need_discard', 'bucket_gens', 'backpointers']);

/** Whether a finding is about what some members would show: their buckets, pointers into these, and counters of these. */
export function concerns({ where, facts }: Finding, devs: Missing): boolean {
  if (devs.size === 0) return false;
  if (where.btree !== undefined && where.pos !== undefined && BY_DEVICE.has(where.btree)) {
    if (devs.has(Number.parseInt(where.pos, 10))) return true;
  }
  const { pointer, dev, counter, entry } = facts as {
    readonly pointer?: { readonly dev?: number };
    readonly dev?: number;
    readonly counter?: { readonly dev?: number; readonly entry?: { readonly devs: readonly number[] } };
    readonly entry?: { readonly devs: readonly number[] };
  };
  const named = [pointer?.dev, dev, counter?.dev, ...(counter?.entry?.devs ?? []), ...(entry?.devs ?? [])];
  return named.some(one => one !== undefined && devs.has(one));
}
