// From a key to the files that it belongs to: which subvolumes see it, what the file is called there, and which byte of it is meant. What
// hides a key in a snapshot is the snapshots room's; the names are the fs room's.

import { FileTree } from '../fs/file-tree.ts';
import { type FilePath, pathsOf } from '../fs/paths.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposInode, bposOffset, bposSnapshot, compareBpos } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';
import { ROOT_SUBVOLUME, SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../snapshots/visible.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import type { FileReference, FileReferences } from './explanation.ts';

/** Files that are listed of one key. */
const FILES_MAX = 256;
/** Subvolumes that are asked whether they see a key; thousands of snapshots see it alike. */
const SUBVOLUMES_MAX = 1024;

/** Inodes whose paths are remembered. */
const PATHS_KEPT = 1024;
/** Files with several names of which all are searched for; of further ones the name that the inode knows is given. */
const SEARCHES_MAX = 1000;

const REFLINK_P = keyTypes.idOf('reflink_p');
const NO_FILES: FileReferences = { list: [], hasMore: false };

/** Where the inode's number stands in the positions of a btree. */
const inodeOf: { readonly [name in BtreeName]?: (pos: Bpos) => bigint } = {
  extents: bposInode,
  inodes: bposOffset,
  dirents: bposInode,
  xattrs: bposInode,
};

/** A run of sectors of an extent that is meant: its whole, or one byte in it. */
export interface WantedPart {
  /** Bytes from the start of the key; undefined for all of it. */
  readonly byte: number | undefined;
}

export interface FileFinderOptions {
  /** Files that are listed of one key. */
  readonly filesMax?: number;
  /** Subvolumes that are asked whether they see a key. */
  readonly subvolumesMax?: number;
}

export class FileFinder {
  readonly #source: Filesystem;
  readonly #onDamage: (damage: Damage) => void;
  readonly #filesMax: number;
  readonly #subvolumesMax: number;
  #table: SnapshotTable | undefined;
  readonly #trees = new Map<number, FileTree>();
  /** Of inodes that were asked for lately: a file has many extents. */
  readonly #paths = new Map<string, readonly FilePath[]>();
  #searches = 0;

  constructor(
    source: Filesystem,
    onDamage: (damage: Damage) => void,
    { filesMax = FILES_MAX, subvolumesMax = SUBVOLUMES_MAX }: FileFinderOptions = {},
  ) {
    this.#source = source;
    this.#onDamage = onDamage;
    this.#filesMax = filesMax;
    this.#subvolumesMax = subvolumesMax;
  }

  get table(): SnapshotTable {
    this.#table ??= SnapshotTable.read(this.#source, { onDamage: this.#onDamage });
    return this.#table;
  }

  /** The files that a key of a leaf belongs to: those of an extent as `ofExtent` gives them. */
  ofKey(btree: number, key: Key): FileReferences {
    const name = btrees.byId(btree)?.name;
    if (name === 'extents') return this.ofExtent(key, { byte: undefined });
    if (name === 'reflink') return this.ofIndirect(key, { byte: undefined });
    const inum = name === undefined ? undefined : inodeOf[name]?.(key.k.p);
    if (name === undefined || inum === undefined) return NO_FILES;
    return this.#references(name, key, inum, undefined, undefined);
  }

  /** The files that an extent belongs to: one inode, in each subvolume that sees the key. */
  ofExtent(key: Key, { byte }: WantedPart): FileReferences {
    const end = Number(bposOffset(key.k.p)) * SECTOR_BYTES;
    const range = { offset: end - key.k.size * SECTOR_BYTES, length: key.k.size * SECTOR_BYTES };
    const offset = byte === undefined ? undefined : range.offset + byte;
    return this.#references('extents', key, bposInode(key.k.p), offset, range);
  }

  /** The files that share an indirect extent: those of each reflink_p that points there. Reads the whole btree of extents. */
  ofIndirect(key: Key, { byte }: WantedPart): FileReferences {
    const end = Number(bposOffset(key.k.p));
    const start = end - key.k.size;
    // The run of the reflink btree that is meant, in sectors.
    const first = byte === undefined ? start : start + Math.floor(byte / SECTOR_BYTES);
    const last = byte === undefined ? end : first + 1;
    const list: FileReference[] = [];
    for (const pointer of this.#source.btree('extents').keys({ onDamage: this.#onDamage })) {
      const { k, value } = pointer;
      if (k.type !== REFLINK_P || value.length < reflinkP.minBytes) continue;
      const idx = Number(reflinkP.decode(value).idx);
      if (idx >= last || idx + k.size <= first) continue;
      const from = Math.max(first, idx);
      const keyStart = Number(bposOffset(k.p)) - k.size;
      const offset = (keyStart + from - idx) * SECTOR_BYTES;
      const range = { offset, length: (Math.min(last, idx + k.size) - from) * SECTOR_BYTES };
      const exact = byte === undefined ? undefined : offset + (byte % SECTOR_BYTES);
      const found = this.#references('extents', pointer, bposInode(k.p), exact, range);
      list.push(...found.list);
      if (found.hasMore || list.length >= this.#filesMax) return { list: list.slice(0, this.#filesMax), hasMore: true };
    }
    return { list, hasMore: false };
  }

  /**
   * For each reference to one of some indirect extents, the files that it is in. Reads the btree of extents once, however many they are.
   * @param keys in the order of their positions
   * @yields with the numbers of the keys that it leads to
   */
  *ofIndirects(keys: readonly Key[]): Generator<FileReferences & { readonly to: readonly number[] }> {
    const ends = keys.map(({ k }) => Number(bposOffset(k.p)));
    for (const pointer of this.#source.btree('extents').keys({ onDamage: this.#onDamage })) {
      const { k, value } = pointer;
      if (k.type !== REFLINK_P || value.length < reflinkP.minBytes) continue;
      const idx = Number(reflinkP.decode(value).idx);
      const to: number[] = [];
      for (let nr = firstAbove(ends, idx); nr < ends.length && ends[nr]! - keys[nr]!.k.size < idx + k.size; nr++)
        to.push(nr);
      if (to.length > 0) yield { ...this.ofExtent(pointer, { byte: undefined }), to };
    }
  }

  #references(
    btree: BtreeName,
    key: Key,
    inum: bigint,
    offset: number | undefined,
    range: FileReference['range'],
  ): FileReferences {
    const list: FileReference[] = [];
    const candidates = this.#subvolumesSeeing(bposSnapshot(key.k.p));
    for (const { id, snapshot } of candidates.slice(0, this.#subvolumesMax)) {
      const view = this.#source.btree(btree);
      const seen = visibleKeyAt(view, this.table, snapshot, key.k.p, { onDamage: this.#onDamage });
      if (seen === undefined || compareBpos(seen.k.p, key.k.p) !== 0) continue;
      if (list.length === this.#filesMax) return { list, hasMore: true };
      const tree = this.#tree(id);
      if (tree === undefined) continue;
      const node = tree.node(inum);
      const paths = this.#pathsOf(tree, id, inum, node !== undefined && node.inode.bi_nlink > 0);
      list.push({ inum, subvolume: id, snapshot, sizeBytes: node?.inode.bi_size, paths, offset, range });
    }
    return { list, hasMore: candidates.length > this.#subvolumesMax };
  }

  #pathsOf(tree: FileTree, subvolume: number, inum: bigint, isLinked: boolean): readonly FilePath[] {
    const id = `${subvolume}:${inum}`;
    const known = this.#paths.get(id);
    if (known !== undefined) return known;
    if (this.#paths.size >= PATHS_KEPT) this.#paths.clear();
    // A search reads all names of the subvolume.
    const searchesAll = isLinked && this.#searches < SEARCHES_MAX;
    if (searchesAll) this.#searches++;
    const paths = pathsOf(tree, inum, { search: searchesAll ? 'all' : 'fallback' });
    this.#paths.set(id, paths);
    return paths;
  }

  /** Subvolumes whose snapshot is this one or below it. Without any table there is one subvolume, as for FileTree. */
  #subvolumesSeeing(keySnapshot: number): readonly { readonly id: number; readonly snapshot: number }[] {
    const known = this.table.subvolumes();
    if (known.length === 0) return [{ id: ROOT_SUBVOLUME, snapshot: 0xffff_ffff }];
    return known.filter(({ snapshot }) => this.table.isAncestor(snapshot, keySnapshot));
  }

  #tree(subvolume: number): FileTree | undefined {
    const known = this.#trees.get(subvolume);
    if (known !== undefined) return known;
    try {
      const tree = FileTree.open(this.#source, { subvolume, table: this.table, onDamage: this.#onDamage });
      this.#trees.set(subvolume, tree);
      return tree;
    } catch (thrown) {
      if (!(thrown instanceof UsageError || thrown instanceof CorruptError)) throw thrown;
      this.#onDamage(
        new CorruptError('subvol_missing', { btree: 'subvolumes', pos: `0:${subvolume}:0` }, thrown.detail),
      );
      return undefined;
    }
  }
}

/** @param ends in order @returns the index of the first that is above a number */
function firstAbove(ends: readonly number[], than: number): number {
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle]! <= than) low = middle + 1;
    else high = middle;
  }
  return low;
}
