// What the superblock has to say before the changes of a transaction are on disk: which sets of devices data is on, so that a mount can
// see whether it has enough of them, where on each device a scan for btree nodes has to look, and which features are in use. All of it
// only ever grows here; what is listed too much is legal, and the reference takes it away at its own time.
// Source: bch2_accounting_update_sb in disk_accounting.c, bch2_mark_replicas in replicas.c, __bch2_dev_btree_bitmap_mark in
// sb-members.c, v1.13.0.

import { withBits } from '../ondisk/bits.ts';
import { assert } from '../ondisk/errors.ts';
import { type FeatureName, incompatFeatures } from '../ondisk/features.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { type ReplicasEntry, replicasEntryText } from '../ondisk/replicas-entry.ts';
import { MEMBER_BITMAP_SHIFT_MAX, members, withMember } from '../ondisk/sb-fields/members.ts';
import { encodeReplicas, replicas } from '../ondisk/sb-fields/replicas.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';

interface BtreeBitmap {
  readonly shift: number;
  readonly bitmap: bigint;
}

export class SuperblockNeeds {
  readonly #replicas = new Map<string, ReplicasEntry>();
  readonly #bitmaps: BtreeBitmap[];
  readonly #before: readonly BtreeBitmap[];
  readonly #freespaceReady = new Set<number>();
  #features = 0n;

  constructor(sb: Superblock) {
    this.#before = members(sb).map(({ btree_bitmap_shift, btree_allocated_bitmap }) => ({
      shift: btree_bitmap_shift,
      bitmap: btree_allocated_bitmap,
    }));
    this.#bitmaps = [...this.#before];
  }

  /** @param devs in any order */
  addReplicas(entry: ReplicasEntry): void {
    const sorted = { ...entry, devs: [...entry.devs].sort((a, b) => a - b) };
    this.#replicas.set(replicasEntryText(sorted), sorted);
  }

  /** A node is to be at these sectors. */
  addNode(dev: number, start: number, sectors: number): void {
    const known = this.#bitmaps[dev] ?? { shift: 0, bitmap: 0n };
    this.#bitmaps[dev] = withSectors(known, start, sectors);
  }

  /** The device's free buckets are in the freespace btree from now on. */
  addFreespaceReady(dev: number): void {
    this.#freespaceReady.add(dev);
  }

  addFeature(name: FeatureName): void {
    this.#features |= 1n << BigInt(incompatFeatures.idOf(name));
  }

  /** Whether the superblock lacks anything of it. */
  isMet(sb: Superblock): boolean {
    return this.applyTo(sb) === sb;
  }

  /** The superblock with what it lacks; the same value when it lacks nothing. */
  applyTo(sb: Superblock): Superblock {
    let changed = withReplicas(withFeatures(sb, this.#features), [...this.#replicas.values()]);
    for (const [dev, bitmap] of this.#bitmaps.entries()) {
      if (bitmap === undefined || bitmap === this.#before[dev]) continue;
      const { btree_bitmap_shift: shift, btree_allocated_bitmap: own } = members(changed)[dev]!;
      const merged = mergedBitmap(bitmap, { shift, bitmap: own });
      if (merged.shift === shift && merged.bitmap === own) continue;
      changed = withMember(changed, dev, member => ({
        ...member,
        btree_bitmap_shift: merged.shift,
        btree_allocated_bitmap: merged.bitmap,
      }));
    }
    for (const dev of this.#freespaceReady) {
      const { flags } = members(changed)[dev]!;
      const [ready] = withBits([flags], memberBits.FREESPACE_INITIALIZED, 1);
      if (ready !== flags) changed = withMember(changed, dev, member => ({ ...member, flags: ready! }));
    }
    return changed;
  }
}

/** 64 bits, each for `1 << shift` sectors: the shift grows when the end is past what they cover. */
function withSectors(known: BtreeBitmap, start: number, sectors: number): BtreeBitmap {
  const end = start + sectors;
  let { shift, bitmap } = known;
  const needed = Math.ceil(Math.log2(end)) - 6;
  if (needed > shift) {
    bitmap = folded(bitmap, needed - shift);
    shift = needed;
  }
  assert(shift < MEMBER_BITMAP_SHIFT_MAX, 'sectors have 44 bits');
  const scale = 2 ** shift;
  for (let bit = Math.floor(start / scale); bit * scale < end; bit++) bitmap |= 1n << BigInt(bit);
  return shift === known.shift && bitmap === known.bitmap ? known : { shift, bitmap };
}

/** Each bit moves down, several into one. */
function folded(bitmap: bigint, by: number): bigint {
  let result = 0n;
  for (let bit = 0; bit < 64; bit++) if ((bitmap >> BigInt(bit)) & 1n) result |= 1n << BigInt(bit >> Math.min(by, 31));
  return result;
}

function mergedBitmap(a: BtreeBitmap, b: BtreeBitmap): BtreeBitmap {
  const shift = Math.max(a.shift, b.shift);
  return { shift, bitmap: folded(a.bitmap, shift - a.shift) | folded(b.bitmap, shift - b.shift) };
}

function withFeatures(sb: Superblock, needed: bigint): Superblock {
  const [features = 0n, ...others] = sb.features;
  return (features | needed) === features ? sb : { ...sb, features: [features | needed, ...others] };
}

/** The superblock without entries for sets of devices that hold nothing any more. */
export function withoutReplicas(sb: Superblock, isGone: (entry: ReplicasEntry) => boolean): Superblock {
  const listed = replicas(sb);
  const left = listed.filter(entry => !isGone(entry));
  return left.length === listed.length ? sb : withEntries(sb, left);
}

/** Entries of which one needs several devices are only in the newer of the two sections. */
function withReplicas(sb: Superblock, needed: readonly ReplicasEntry[]): Superblock {
  const listed = replicas(sb);
  const names = new Set(
    listed.map(entry => replicasEntryText({ ...entry, devs: [...entry.devs].sort((a, b) => a - b) })),
  );
  const missing = needed.filter(entry => !names.has(replicasEntryText(entry)));
  if (missing.length === 0) return sb;
  return withEntries(sb, [...listed, ...missing].sort(compareEntries));
}

function withEntries(sb: Superblock, entries: readonly ReplicasEntry[]): Superblock {
  const isSimple =
    entries.every(({ nr_required }) => nr_required === 1) && sectionPayload(sb, 'replicas') === undefined;
  if (isSimple) return withSection(sb, 'replicas_v0', encodeReplicas(entries, 'replicas_v0'));
  return withSection(withSection(sb, 'replicas_v0', undefined), 'replicas', encodeReplicas(entries, 'replicas'));
}

/** As bytes, the order of the reference. */
function compareEntries(a: ReplicasEntry, b: ReplicasEntry): number {
  const [left, right] = [a, b].map(({ data_type, nr_required, devs }) => [
    data_type,
    devs.length,
    nr_required,
    ...devs,
  ]);
  for (let i = 0; i < Math.max(left!.length, right!.length); i++) {
    const difference = (left![i] ?? -1) - (right![i] ?? -1);
    if (difference !== 0) return difference;
  }
  return 0;
}
