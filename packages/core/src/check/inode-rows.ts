// All inodes of the filesystem in columns, in the order of their keys (inode number, then snapshot), and what other keys add up to for
// each: 88 bytes a row, so 88 MB for a million files, and up to twice that after the columns were last doubled.

import type { KeyRun } from '../btree/key-runs.ts';
import { inodeOfKey } from '../fs/inode.ts';
import { bposOffset } from '../ondisk/bpos.ts';
import { InodeScan } from '../ondisk/inode-scan.ts';
import { FILE_TYPE_DIR, FILE_TYPE_SUBVOL, inodeFlags } from '../ondisk/inode-tables.ts';
import { type Inode, modeType, unpackInodeV3 } from '../ondisk/inode-unpack.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { u64Of } from '../ondisk/little-endian.ts';
import type { OnDamage } from '../snapshots/damage.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';

const START_ROWS = 1024;

/** Bits of `state`. */
export const IS_DIRECTORY = 1;
export const IS_UNLINKED = 2;
export const HAS_CHILD_SNAPSHOT = 4;
export const IS_SECTORS_DIRTY = 8;
/** The dirent that it names was found. */
export const DIRENT_FOUND = 16;
const IS_31_BIT = 32;
/** It was seen not to be in a circle of directories. */
export const PATH_ENDS = 64;

const INODE_V3 = keyTypes.idOf('inode_v3');
const flagBit = (name: string): number => 1 << inodeFlags.idOf(name);
const UNLINKED_FLAG = flagBit('unlinked');
const CHILD_FLAG = flagBit('has_child_snapshot');
const SECTORS_DIRTY_FLAG = flagBit('i_sectors_dirty');
const IS_31_BIT_FLAG = flagBit('31bit_dirent_offset');

const AT = {
  dir: InodeScan.word('bi_dir'),
  dirOffset: InodeScan.word('bi_dir_offset'),
  nlink: InodeScan.word('bi_nlink'),
  subvolume: InodeScan.word('bi_subvol'),
  parentSubvolume: InodeScan.word('bi_parent_subvol'),
};

class Columns {
  readonly inum: BigUint64Array;
  readonly snapshot: Uint32Array;
  readonly state: Uint8Array;
  readonly mode: Uint16Array;
  readonly strHash: Uint8Array;
  readonly seed: BigUint64Array;
  readonly nlink: Uint32Array;
  readonly dir: BigUint64Array;
  readonly dirOffset: BigUint64Array;
  readonly subvolume: Uint32Array;
  readonly parentSubvolume: Uint32Array;
  readonly size: Float64Array;
  readonly sectors: Float64Array;
  /** Sectors of extents that this inode sees. */
  readonly sectorsSeen: Float64Array;
  /** Where the last of them ends. */
  readonly lastEnd: Float64Array;
  /** Names that lead here, or of a directory, subdirectories. */
  readonly links: Uint32Array;

  constructor(rows: number, old?: Columns) {
    this.inum = grown(new BigUint64Array(rows), old?.inum);
    this.snapshot = grown(new Uint32Array(rows), old?.snapshot);
    this.state = grown(new Uint8Array(rows), old?.state);
    this.mode = grown(new Uint16Array(rows), old?.mode);
    this.strHash = grown(new Uint8Array(rows), old?.strHash);
    this.seed = grown(new BigUint64Array(rows), old?.seed);
    this.nlink = grown(new Uint32Array(rows), old?.nlink);
    this.dir = grown(new BigUint64Array(rows), old?.dir);
    this.dirOffset = grown(new BigUint64Array(rows), old?.dirOffset);
    this.subvolume = grown(new Uint32Array(rows), old?.subvolume);
    this.parentSubvolume = grown(new Uint32Array(rows), old?.parentSubvolume);
    this.size = grown(new Float64Array(rows), old?.size);
    this.sectors = grown(new Float64Array(rows), old?.sectors);
    this.sectorsSeen = grown(new Float64Array(rows), old?.sectorsSeen);
    this.lastEnd = grown(new Float64Array(rows), old?.lastEnd);
    this.links = grown(new Uint32Array(rows), old?.links);
  }
}

function grown<T extends { set(source: T): void }>(target: T, old: T | undefined): T {
  if (old !== undefined) target.set(old);
  return target;
}

export class InodeRows {
  count = 0;
  columns = new Columns(START_ROWS);
  /** All flags of all that `addKey` has added, and the newest of the journal entries that they depend on; rounded above 2^53. */
  flags = 0;
  journalSeq = 0;
  readonly #scan = new InodeScan();
  /** The rows of the number that was last asked for. */
  #lastInum = -1n;
  #lastRows: readonly [number, number] = [0, 0];

  /** What a key of the inodes btree adds. @param onDamage see inodeOfKey @returns its row; undefined where it is not an inode */
  addKey(run: KeyRun, index: number, onDamage: OnDamage): number | undefined {
    const scan = this.#scan;
    if (run.type(index) === INODE_V3 && scan.read(run.bytes, run.valueAt(index), run.valueBytes(index)))
      return this.#addScanned(run.rows, run.positionAt(index), scan);
    const key = run.key(index);
    const inode = inodeOfKey(key, onDamage);
    if (inode === undefined) return undefined;
    this.#note(inode.bi_flags, Number(inode.bi_journal_seq));
    return this.add(bposOffset(key.k.p), key.k.p[0]!, inode);
  }

  #addScanned(rows: Uint32Array, position: number, scan: InodeScan): number {
    const { columns, row } = this.#next(scan.mode, scan.flags);
    const { fields } = scan;
    columns.inum[row] = u64Of(rows[position + 1]!, rows[position + 2]!);
    columns.snapshot[row] = rows[position]!;
    columns.strHash[row] = scan.strHash;
    columns.seed[row] = u64Of(scan.seedLow, scan.seedHigh);
    columns.nlink[row] = fields[AT.nlink]!;
    columns.dir[row] = u64Of(fields[AT.dir]!, fields[AT.dir + 1]!);
    columns.dirOffset[row] = u64Of(fields[AT.dirOffset]!, fields[AT.dirOffset + 1]!);
    columns.subvolume[row] = fields[AT.subvolume]!;
    columns.parentSubvolume[row] = fields[AT.parentSubvolume]!;
    columns.size[row] = scan.sizeBytes;
    columns.sectors[row] = scan.sectors;
    this.#note(scan.flags, scan.journalSeq);
    return row;
  }

  #note(flags: number, journalSeq: number): void {
    this.flags |= flags;
    if (journalSeq > this.journalSeq) this.journalSeq = journalSeq;
  }

  #next(mode: number, flags: number): { readonly columns: Columns; readonly row: number } {
    if (this.count === this.columns.inum.length) this.columns = new Columns(2 * this.count, this.columns);
    const { columns } = this;
    const row = this.count++;
    columns.state[row] =
      (modeType(mode) === FILE_TYPE_DIR ? IS_DIRECTORY : 0) |
      (flags & UNLINKED_FLAG ? IS_UNLINKED : 0) |
      (flags & CHILD_FLAG ? HAS_CHILD_SNAPSHOT : 0) |
      (flags & SECTORS_DIRTY_FLAG ? IS_SECTORS_DIRTY : 0) |
      (flags & IS_31_BIT_FLAG ? IS_31_BIT : 0);
    columns.mode[row] = mode;
    return { columns, row };
  }

  add(inum: bigint, snapshot: number, inode: Inode): number {
    const { columns, row } = this.#next(inode.bi_mode, inode.bi_flags);
    columns.inum[row] = inum;
    columns.snapshot[row] = snapshot;
    columns.strHash[row] = inode.str_hash;
    columns.seed[row] = inode.bi_hash_seed;
    columns.nlink[row] = inode.bi_nlink;
    columns.dir[row] = inode.bi_dir;
    columns.dirOffset[row] = inode.bi_dir_offset;
    columns.subvolume[row] = inode.bi_subvol;
    columns.parentSubvolume[row] = inode.bi_parent_subvol;
    columns.size[row] = Number(inode.bi_size);
    columns.sectors[row] = Number(inode.bi_sectors);
    return row;
  }

  /** First row and end of the rows of an inode number: one for each snapshot that has its own. */
  of(inum: bigint): readonly [number, number] {
    if (inum === this.#lastInum) return this.#lastRows;
    const { inum: inums } = this.columns;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (inums[middle]! < inum) low = middle + 1;
      else high = middle;
    }
    let end = low;
    while (end < this.count && inums[end] === inum) end++;
    this.#lastInum = inum;
    this.#lastRows = [low, end];
    return this.#lastRows;
  }

  /** The row that a snapshot sees; snapshots stand in ascending order, so the first ancestor is the nearest. */
  seenFrom(inum: bigint, snapshot: number, table: SnapshotTable): number | undefined {
    const [first, end] = this.of(inum);
    for (let row = first; row < end; row++) {
      if (table.isAncestor(snapshot, this.columns.snapshot[row]!)) return row;
    }
    return undefined;
  }

  has(row: number, bit: number): boolean {
    return (this.columns.state[row]! & bit) !== 0;
  }

  set(row: number, bit: number): void {
    this.columns.state[row] = this.columns.state[row]! | bit;
  }

  /** What a dirent of it has as its type. Mirrors inode_d_type. */
  direntType(row: number): number {
    return this.columns.subvolume[row] !== 0 ? FILE_TYPE_SUBVOL : modeType(this.columns.mode[row]!);
  }

  /** As much of the inode as hashes of names need. */
  hashed(row: number): Inode {
    const { strHash, seed } = this.columns;
    const bi_flags = this.has(row, IS_31_BIT) ? 1 << 11 : 0;
    return { ...BLANK, str_hash: strHash[row]!, bi_hash_seed: seed[row]!, bi_flags };
  }
}

const BLANK = unpackInodeV3(new Uint8Array(48));
