// check_extents: the data of files belongs to a file, lies within its size, overlaps nowhere and is counted right.
//
// Checks: as every version of an inode sees its extents. Needs: check_inodes, and snapshots without dead nodes. Raises: key_in_missing_inode,
// key_in_wrong_inode_type (owners.ts), extent_overlapping, extent_past_end_of_inode, inode_i_sectors_wrong,
// bkey_version_in_future of data (the kernel: check_allocations, of all keys; the others: topology.ts). Memory: the inode index, and 16
// bytes for each row.
// Repair: an inode that is missing is made again. Of two extents that overlap the one that was written later stays whole, and the other
// keeps what is not covered; what lies past the end of a file goes, as in a kernel that crashed before the size was written; sectors are
// counted. Versions that nothing can have counted up to become the recorded one. Where nodes of extents are lost for good, what a file lacks becomes keys of type error.
// Source: check_extent, check_overlapping_extents and check_i_sectors in fsck.c, v1.13.0.

import { entryBytesOf } from '../../alloc/extent-pointers.ts';
import { makeKey } from '../../btree/transaction.ts';
import { IS_SECTORS_DIRTY } from '../../check/inode-rows.ts';
import { KEY_VERSION_LIMIT } from '../../crypto/random-distance.ts';
import { extentEnd, extentStart } from '../../data/extent-cut.ts';
import { deleteExtents, insertExtent } from '../../data/extent-insert.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { type Bpos, bposInode, makeBpos } from '../../ondisk/bpos.ts';
import { btrees } from '../../ondisk/btrees.ts';
import { decodeExtentEntries } from '../../ondisk/extent-entries.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { finding } from '../../report/finding.ts';
import { atSnapshot } from '../../snapshots/visible.ts';
import { deleteInSnapshot } from '../../snapshots/whiteouts.ts';
import { encryptionOf } from '../../superblock/passphrase.ts';
import { SECTOR_BYTES } from '../../util/sizes.ts';
import type { Pass, PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import {
  groupsOf,
  type InodeIndex,
  isWhiteout,
  keysOf,
  nearest,
  placeOf,
  placeOfKey,
  rangeOfInode,
  reportedBefore,
} from './inode-index.ts';
import { ALLOCATED, checkOwners, extentOf } from './owners.ts';
import { RepairQueue } from './repair-queue.ts';

const EXTENT = keyTypes.idOf('extent');
const RESERVATION = keyTypes.idOf('reservation');
const EXTENTS = btrees.idOf('extents');
const ERROR = keyTypes.idOf('error');
const NO_VALUE = new Uint8Array(0);
/** What data has a version in. */
const DATA_BTREES = ['extents', 'reflink'] as const;
type DataBtree = (typeof DATA_BTREES)[number];
/** Keys that are read before any is changed. */
const KEYS_AT_ONCE = 1024;
/** The size of a key has 32 bits. */
const LARGEST_ERROR = 2 ** 31;

export const checkExtents: Pass = {
  name: 'check_extents',
  needs: ['check_inodes', 'delete_dead_snapshots'],
  run(context) {
    if (context.unreadable.has('extents')) return;
    const extents = new ExtentCheck(context, checkOwners(context, 'extents'));
    extents.walk();
    extents.countSectors();
    extents.checkVersion();
    extents.repair();
  },
};

class ExtentCheck {
  readonly #context: PassContext;
  readonly #index: InodeIndex;
  readonly #files: FileRepairs;
  readonly #repairs: RepairQueue;
  readonly #sectors: Float64Array;
  readonly #lastEnds: Float64Array;
  /** The last extent of the inode that is walked, by row. */
  readonly #last = new Map<number, Key>();
  #inum = -1n;
  /** The highest version, and where it is. */
  #version = 0n;
  #newest: { readonly btree: DataBtree; readonly pos: Bpos } | undefined;
  /** Rows whose extents change: their sectors are counted afterwards. */
  readonly #changed = new Set<number>();

  constructor(context: PassContext, index: InodeIndex) {
    this.#context = context;
    this.#index = index;
    this.#files = new FileRepairs(context);
    this.#repairs = new RepairQueue(context);
    this.#sectors = new Float64Array(index.rows.count);
    this.#lastEnds = new Float64Array(index.rows.count);
  }

  repair(): void {
    this.#repairs.run();
  }

  walk(): void {
    const { rows, table } = this.#index;
    const { snapshot } = rows.columns;
    for (const group of groupsOf(this.#context, 'extents')) {
      for (const key of group) this.#noteVersion('extents', key);
      const inum = bposInode(group[0].k.p);
      if (inum !== this.#inum) {
        this.#inum = inum;
        this.#last.clear();
      }
      const [first, end] = rows.of(inum);
      for (let row = first; row < end; row++) {
        const key = nearest(group, snapshot[row]!, table);
        if (key !== undefined && !isWhiteout(key)) this.#visit(row, key);
      }
    }
  }

  #noteVersion(btree: DataBtree, key: Key): void {
    if (versionOf(key) <= this.#version) return;
    this.#version = versionOf(key);
    this.#newest = { btree, pos: key.k.p.slice() };
  }

  /** What is written later has a higher one than all that there is: with encryption it is the nonce. Shared data keeps the one that it had. */
  checkVersion(): void {
    if (!this.#context.unreadable.has('reflink'))
      for (const key of keysOf(this.#context, 'reflink')) this.#noteVersion('reflink', key);
    const recorded = this.#context.state.replay.clocks.keyVersion;
    if (this.#newest === undefined || this.#version <= recorded) return;
    const { btree, pos } = this.#newest;
    const where = placeOfKey(this.#context, this.#index, btree, pos);
    const detail = `version ${this.#version}, expected at most ${recorded}`;
    const found = finding('bkey_version_in_future', where, { detail });
    const isPossible = this.#version < KEY_VERSION_LIMIT;
    // Encrypted data is read with the version that it was written with.
    const isRepairable = isPossible || encryptionOf(this.#context.state.sb) === 'none';
    const after = isPossible ? 'the recorded version is raised' : 'keys get the recorded version';
    if (this.#context.reporter.found(found, { isRepairable, after }) !== 'fix') return;
    if (isPossible) this.#context.raiseKeyVersion(this.#version);
    else this.#lowerVersions(recorded < KEY_VERSION_LIMIT ? recorded : 0n);
  }

  /** No write has counted that far: the versions of these keys are damaged. Those that are only ahead are raised to in the next round. */
  #lowerVersions(version: bigint): void {
    const { tx } = this.#files;
    for (const btree of DATA_BTREES) {
      if (this.#context.unreadable.has(btree)) continue;
      let waiting: Key[] = [];
      const lowerAll = () => {
        for (const { k, value } of waiting)
          tx.update(btree, makeKey(k.type, k.p, value, { ...k, bversion_lo: version, bversion_hi: 0 }));
        waiting = [];
      };
      for (const key of keysOf(this.#context, btree)) {
        if (versionOf(key) >= KEY_VERSION_LIMIT) waiting.push(ownCopy(key));
        if (waiting.length === KEYS_AT_ONCE) lowerAll();
      }
      lowerAll();
    }
  }

  #visit(row: number, key: Key): void {
    this.#checkOverlap(row, key);
    this.#lastEnds[row] = extentEnd(key);
    this.#last.set(row, key);
    if (ALLOCATED.includes(key.k.type)) this.#sectors[row] = this.#sectors[row]! + key.k.size;
    this.#checkEnd(row, key);
  }

  #checkOverlap(row: number, key: Key): void {
    const least = this.#lastEnds[row]!;
    const [start, end] = [extentStart(key), extentEnd(key)];
    const before = this.#last.get(row);
    if (start >= least || before === undefined) return;
    const { reporter } = this.#context;
    const { inum, snapshot } = this.#index.rows.columns;
    const where = this.#placeOf(key, 'extent_overlapping');
    const found = finding('extent_overlapping', where, { start, end, least, snapshot: snapshot[row]! });
    if (reporter.found(found) !== 'fix') return;
    // What both versions see is repaired once, for both.
    this.#changed.add(row);
    const winner = isNewer(before, key) ? before : key;
    const loser = winner === key ? before : key;
    this.#context.drop(EXTENTS, loser, 'what overlaps a newer extent of the file is given up');
    this.#repairs.add(() => {
      const now = this.#files.tx.get('extents', winner.k.p);
      if (now !== undefined) insertExtent(this.#files.tx, this.#files.table, ownCopy(now));
      this.#recount(inum[row]!, snapshot[row]!);
    });
  }

  #checkEnd(row: number, key: Key): void {
    const { columns } = this.#index.rows;
    const most = this.#sectorsOfSize(row);
    const end = extentEnd(key);
    if (end <= most || isReservation(key)) return;
    const [inum, snapshot] = [columns.inum[row]!, columns.snapshot[row]!];
    const where = this.#placeOf(key, 'extent_past_end_of_inode');
    const found = finding('extent_past_end_of_inode', where, { end, most, snapshot });
    if (this.#context.reporter.found(found) !== 'fix') return;
    this.#changed.add(row);
    this.#context.drop(EXTENTS, key, 'it lies past the end of its file');
    const whole = extentStart(key) >= most ? atSnapshot(key.k.p, snapshot) : undefined;
    this.#repairs.add(() => {
      const { tx, table } = this.#files;
      // Positions that damage has made may be beyond what numbers are exact for: what is to go whole goes by its position.
      if (whole !== undefined) deleteInSnapshot(tx, 'extents', table, whole);
      else deleteExtents(tx, table, { inum, snapshot, start: most, end });
      this.#recount(inum, snapshot);
    });
  }

  /** How many a file of its size has at the most. */
  #sectorsOfSize(row: number): number {
    const blockBytes = this.#context.state.sb.block_size * SECTOR_BYTES;
    return Math.ceil(this.#index.rows.columns.size[row]! / blockBytes) * (blockBytes / SECTOR_BYTES);
  }

  /** What every version adds up to. */
  countSectors(): void {
    const { rows } = this.#index;
    const { columns } = rows;
    const { reporter } = this.#context;
    for (let row = 0; row < rows.count; row++) {
      const [found, expected] = [columns.sectors[row]!, this.#sectors[row]!];
      if (found === expected || rows.has(row, IS_SECTORS_DIRTY) || this.#changed.has(row)) continue;
      const where = placeOf(this.#context, this.#index, row, reporter.countOf('inode_i_sectors_wrong'));
      const isLost = found > expected && this.#context.lostData.has('extents');
      const proposal = isLost ? { safe: false, after: 'reading what is lost of it is an error' } : {};
      if (reporter.found(finding('inode_i_sectors_wrong', where, { found, expected }), proposal) !== 'fix') continue;
      const [inum, snapshot] = [columns.inum[row]!, columns.snapshot[row]!];
      this.#repairs.add(() => {
        if (isLost) this.#markLost(inum, snapshot, this.#sectorsOfSize(row));
        this.#recount(inum, snapshot);
      });
    }
  }

  /**
   * Data that was lost with nodes of extents: as a hole it would read as zeroes without a word. Where exactly it was is not known, so all that
   * no snapshot has anything for is an error from now on, true holes of such a file too.
   */
  #markLost(inum: bigint, snapshot: number, sectors: number): void {
    const { tx } = this.#files;
    const known = [...tx.btree('extents').keys({ ...rangeOfInode(inum), onDamage: reportedBefore })]
      .map(key => ({ start: extentStart(key), end: extentEnd(key) }))
      .sort((a, b) => a.start - b.start);
    let at = 0;
    for (const { start, end } of [...known, { start: sectors, end: sectors }]) {
      const stop = Math.min(start, sectors);
      while (at < stop) {
        const size = Math.min(stop - at, LARGEST_ERROR);
        at += size;
        tx.update('extents', makeKey(ERROR, makeBpos(inum, BigInt(at), snapshot), NO_VALUE, { size }));
      }
      at = Math.max(at, end);
    }
  }

  #recount(inum: bigint, snapshot: number): void {
    const { sectors } = extentOf(this.#files, inum, snapshot);
    this.#files.editInode(inum, snapshot, inode => {
      inode.bi_sectors = BigInt(sectors);
    });
  }

  #placeOf(key: Key, error: 'extent_overlapping' | 'extent_past_end_of_inode') {
    return placeOfKey(this.#context, this.#index, 'extents', key.k.p, this.#context.reporter.countOf(error));
  }
}

/** A younger snapshot's, else the one of the higher version: versions count up with every write. */
function isNewer(a: Key, b: Key): boolean {
  if (a.k.p[0] !== b.k.p[0]) return a.k.p[0]! < b.k.p[0]!;
  if (a.k.bversion_hi !== b.k.bversion_hi) return a.k.bversion_hi > b.k.bversion_hi;
  return a.k.bversion_lo > b.k.bversion_lo;
}

const versionOf = ({ k: { bversion_hi, bversion_lo } }: Key): bigint =>
  bversion_hi === 0 ? bversion_lo : (BigInt(bversion_hi) << 64n) | bversion_lo;

const ownCopy = ({ k, value }: Key): Key => ({ k: { ...k, p: k.p.slice() }, value: value.slice() });

/** Space that is set aside, or taken and not written yet. Mirrors bkey_extent_is_reservation. */
function isReservation(key: Key): boolean {
  if (key.k.type === RESERVATION) return true;
  if (key.k.type !== EXTENT) return false;
  return decodeExtentEntries(entryBytesOf(key)).some(entry => entry.type === 'ptr' && entry.unwritten);
}
