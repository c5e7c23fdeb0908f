// Whose space it is: what the data of a file take on the devices, and how much of that nothing else uses. An extent is used by every subvolume and
// snapshot that sees its key, and an indirect extent by as many keys as it counts. Space that only this file in only this subvolume uses is
// exclusive: where there are no snapshots it becomes free when the file is deleted. All the rest is shared.
//
// Metadata, parity of stripes and cached copies do not count. Nothing is read but keys.

import { diskSectorsOf, entryBytesOf, spacePointers } from '../alloc/extent-pointers.ts';
import type { FilesystemSource } from '../btree/source.ts';
import { IndirectExtents } from '../data/segments.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposInode, bposOffsetNumber, makeBpos } from '../ondisk/bpos.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { OnDamage } from '../snapshots/damage.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';

/** Sums in sectors. */
export class Space {
  /** Of files, where data are stored: holes are left out, data that are not written yet are not. */
  dataSectors = 0;
  /** On the devices, all copies: what nothing else uses. */
  exclusiveSectors = 0;
  /** On the devices, all copies: what others use too. */
  sharedSectors = 0;
  /** What is compressed: before, and one copy of it on the devices. */
  uncompressedSectors = 0;
  compressedSectors = 0;

  add(other: Readonly<Space>): void {
    this.dataSectors += other.dataSectors;
    this.exclusiveSectors += other.exclusiveSectors;
    this.sharedSectors += other.sharedSectors;
    this.uncompressedSectors += other.uncompressedSectors;
    this.compressedSectors += other.compressedSectors;
  }

  /** @param sectors that `key` covers of a file. @param isShared by others than this file in this subvolume */
  addExtent(key: Key, sectors: number, isShared: boolean): void {
    this.dataSectors += sectors;
    let isCounted = false;
    for (const pointer of spacePointers(entryBytesOf(key), key.k.size).pointers) {
      if (pointer.cached) continue;
      const taken = diskSectorsOf(pointer, sectors);
      if (isShared) this.sharedSectors += taken;
      else this.exclusiveSectors += taken;
      if (isCounted || taken >= sectors) continue;
      isCounted = true;
      this.uncompressedSectors += sectors;
      this.compressedSectors += taken;
    }
  }
}

const TYPE = {
  extent: keyTypes.idOf('extent'),
  reflinkP: keyTypes.idOf('reflink_p'),
  reflinkV: keyTypes.idOf('reflink_v'),
  inline: keyTypes.idOf('inline_data'),
} as const;

export class FileSpace {
  readonly #source: FilesystemSource;
  readonly #onDamage: OnDamage;
  readonly #reflinks: IndirectExtents;
  readonly #users: KeyUsers;

  constructor(source: FilesystemSource, table: SnapshotTable, onDamage: OnDamage) {
    this.#source = source;
    this.#onDamage = onDamage;
    this.#reflinks = new IndirectExtents(source);
    this.#users = new KeyUsers(table);
  }

  /** What a file takes, as a snapshot sees it. */
  of(inum: bigint, snapshot: number): Space {
    const space = new Space();
    for (const keys of this.#groups(inum)) {
      const seen = this.#users.keyOf(keys, snapshot);
      if (seen === undefined) continue;
      const users = this.#users.of(keys).get(seen) ?? [];
      this.#add(
        space,
        seen,
        users.some(user => user !== snapshot),
      );
    }
    return space;
  }

  /** What each subvolume takes, by its number: one walk over all extents. Those that none sees are in `0`. */
  bySubvolume(): ReadonlyMap<number, Space> {
    const bySnapshot = new Map<number, Space>();
    const of = (snapshot: number): Space => {
      const known = bySnapshot.get(snapshot) ?? new Space();
      bySnapshot.set(snapshot, known);
      return known;
    };
    for (const keys of this.#groups()) {
      for (const [key, snapshots] of this.#users.of(keys)) {
        const space = new Space();
        this.#add(space, key, snapshots.length > 1);
        for (const snapshot of snapshots) of(snapshot).add(space);
        if (snapshots.length === 0) of(0).add(space);
      }
    }
    const spaces = new Map(this.#users.subvolumes.map(({ id, snapshot }) => [id, of(snapshot)]));
    return bySnapshot.has(0) ? spaces.set(0, of(0)) : spaces;
  }

  /** Keys of one position in the order of their snapshots, of one file or of all. */
  *#groups(inum?: bigint): Generator<readonly Key[]> {
    const range =
      inum === undefined
        ? {}
        : { from: makeBpos(inum, 0n, 0), to: makeBpos(inum, 0xffff_ffff_ffff_ffffn, 0xffff_ffff) };
    let keys: Key[] = [];
    for (const key of this.#source.btree('extents').keys({ ...range, onDamage: this.#onDamage })) {
      const first = keys[0];
      if (first !== undefined && !isSamePlace(first, key)) {
        yield keys;
        keys = [];
      }
      keys.push(key);
    }
    if (keys.length > 0) yield keys;
  }

  #add(space: Space, key: Key, isShared: boolean): void {
    const { k, value } = key;
    if (k.type === TYPE.extent) space.addExtent(key, k.size, isShared);
    else if (k.type === TYPE.inline) space.dataSectors += Math.min(k.size, Math.ceil(value.length / 512));
    else if (k.type === TYPE.reflinkP && value.length >= reflinkP.minBytes) this.#addIndirect(space, key, isShared);
  }

  #addIndirect(space: Space, { k, value }: Key, isShared: boolean): void {
    const start = Number(reflinkP.decode(value).idx);
    const end = start + k.size;
    if (end > INDEX_END) return; // Nothing is there.
    for (let at = start; at < end; ) {
      const { found, next } = this.#reflinks.at(at, this.#onDamage);
      if (found === undefined) {
        at = Math.max(next, at + 1);
        continue;
      }
      const until = Math.min(end, bposOffsetNumber(found.k.p));
      space.addExtent(found, until - at, isShared || refcountOf(found) > 1n);
      at = until;
    }
  }
}

/** Sectors of the reflink btree are counted up to here: REFLINK_IDX_MAX has 56 bits, of which numbers keep 53. */
const INDEX_END = 2 ** 53 / 512;

const refcountOf = ({ k, value }: Key): bigint =>
  k.type === TYPE.reflinkV && value.length >= BchReflinkV.size ? BchReflinkV.get(viewOf(value), 0).refcount : 2n;

const isSamePlace = (a: Key, b: Key): boolean =>
  bposOffsetNumber(a.k.p) === bposOffsetNumber(b.k.p) && bposInode(a.k.p) === bposInode(b.k.p);

/** Which subvolumes and snapshots see a key. Most positions have a single key, whose answer is that of its snapshot. */
class KeyUsers {
  readonly subvolumes: readonly { readonly id: number; readonly snapshot: number }[];
  readonly #table: SnapshotTable;
  readonly #snapshots: readonly number[];
  readonly #below = new Map<number, readonly number[]>();

  constructor(table: SnapshotTable) {
    this.#table = table;
    this.subvolumes = table.subvolumes();
    this.#snapshots = [...new Set(this.subvolumes.map(({ snapshot }) => snapshot))];
  }

  /** The one of these keys, all of one position, that a snapshot sees. */
  keyOf(keys: readonly Key[], snapshot: number): Key | undefined {
    return keys.find(({ k }) => this.#table.isAncestor(snapshot, k.p[0]!));
  }

  /** Each of these keys, all of one position, with the snapshots of the subvolumes that see it. */
  of(keys: readonly Key[]): ReadonlyMap<Key, readonly number[]> {
    const [first] = keys;
    if (first === undefined) return new Map();
    if (keys.length === 1) return new Map([[first, this.#snapshotsBelow(first.k.p[0]!)]]);
    const bySnapshot = new Map(keys.map(key => [key.k.p[0]!, key]));
    const users = new Map<Key, number[]>(keys.map(key => [key, []]));
    for (const snapshot of this.#snapshots) {
      for (const id of this.#table.pathToRoot(snapshot)) {
        const nearest = bySnapshot.get(id);
        if (nearest === undefined) continue;
        users.get(nearest)?.push(snapshot);
        break;
      }
    }
    return users;
  }

  /** Those of subvolumes, a snapshot's own included. */
  #snapshotsBelow(id: number): readonly number[] {
    let below = this.#below.get(id);
    if (below === undefined) {
      below = this.#snapshots.filter(snapshot => this.#table.isAncestor(snapshot, id));
      this.#below.set(id, below);
    }
    return below;
  }
}
