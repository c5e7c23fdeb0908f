// Which files would have holes if some members died: those with a run of data of which every copy is there. Reads the btrees of extents once.
// Of data in stripes every copy counts as readable: whether enough blocks are left is the counters' to say (usage/losses.ts).

import { entryBytesOf, spacePointers } from '../alloc/extent-pointers.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposInode, bposOffset, bposSnapshot } from '../ondisk/bpos.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import type { FileReference } from './explanation.ts';
import { FileFinder } from './files-of.ts';

export interface DependentFile {
  readonly inum: bigint;
  /** Of its keys; several snapshots of a file can each lose something. */
  readonly snapshot: number;
  /** How much of it is only there, as the file has it. */
  readonly bytes: number;
  /** Where it is found, in each subvolume that sees it. */
  readonly references: readonly FileReference[];
}

const REFLINK_P = keyTypes.idOf('reflink_p');

/** @param gone indexes of members */
export function* filesDependingOn(
  filesystem: Filesystem,
  gone: ReadonlySet<number>,
  onDamage: (damage: Damage) => void,
): Generator<DependentFile> {
  const finder = new FileFinder(filesystem, onDamage);
  const shared = lostShared(filesystem, gone, onDamage);
  let current: { readonly inum: bigint; readonly snapshots: Map<number, Part> } | undefined;
  const found = function* (): Generator<DependentFile> {
    for (const [snapshot, { sectors, references }] of current?.snapshots ?? [])
      yield { inum: current!.inum, snapshot, bytes: sectorsToBytes(sectors), references: [...references.values()] };
  };
  const viewers = new Map<number, number>();
  /** How many subvolumes there are that may see keys of a snapshot. */
  const viewersOf = (snapshot: number): number => {
    const { table } = finder;
    const known =
      viewers.get(snapshot) ?? table.subvolumes().filter(each => table.isAncestor(each.snapshot, snapshot)).length;
    viewers.set(snapshot, known);
    return known;
  };
  for (const key of filesystem.btree('extents').keys({ onDamage })) {
    const sectors = key.k.type === REFLINK_P ? lostOfPointer(key, shared) : isLost(key, gone) ? key.k.size : 0;
    if (sectors === 0) continue;
    const inum = bposInode(key.k.p);
    if (current?.inum !== inum) {
      yield* found();
      current = { inum, snapshots: new Map() };
    }
    const snapshot = bposSnapshot(key.k.p);
    const part = current.snapshots.get(snapshot) ?? { sectors: 0, references: new Map() };
    current.snapshots.set(snapshot, part);
    part.sectors += sectors;
    // What a subvolume has overwritten it does not see: each key may have other ones.
    if (part.references.size > 0 && part.references.size >= viewersOf(snapshot)) continue;
    for (const reference of finder.ofExtent(key, { byte: undefined }).list)
      if (!part.references.has(reference.subvolume)) part.references.set(reference.subvolume, reference);
  }
  yield* found();
}

/** What is lost of a file's keys in one snapshot. */
interface Part {
  sectors: number;
  /** By subvolume. */
  readonly references: Map<number, FileReference>;
}

/** A key without any pointer that counts holds its data itself, or none. What is only cached elsewhere may be dropped there at any time. */
function isLost(key: Key, gone: ReadonlySet<number>): boolean {
  const pointers = spacePointers(entryBytesOf(key), key.k.size).pointers.filter(({ cached }) => !cached);
  return pointers.length > 0 && pointers.every(({ dev, stripe }) => gone.has(dev) && stripe === undefined);
}

interface Run {
  readonly start: number;
  readonly end: number;
}

/** Runs of the reflink btree, in order. */
function lostShared(
  filesystem: Filesystem,
  gone: ReadonlySet<number>,
  onDamage: (damage: Damage) => void,
): readonly Run[] {
  const runs: Run[] = [];
  for (const key of filesystem.btree('reflink').keys({ onDamage })) {
    if (!isLost(key, gone)) continue;
    const end = Number(bposOffset(key.k.p));
    runs.push({ start: end - key.k.size, end });
  }
  return runs;
}

/** Sectors of a pointer to shared data that are lost with it. */
function lostOfPointer({ k, value }: Key, runs: readonly Run[]): number {
  if (runs.length === 0 || value.length < reflinkP.minBytes) return 0;
  const start = Number(reflinkP.decode(value).idx);
  const end = start + k.size;
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[middle]!.end <= start) low = middle + 1;
    else high = middle;
  }
  let sectors = 0;
  for (let at = low; at < runs.length && runs[at]!.start < end; at++) {
    sectors += Math.min(end, runs[at]!.end) - Math.max(start, runs[at]!.start);
  }
  return sectors;
}
