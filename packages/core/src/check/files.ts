// Files: inodes, and what extents, dirents and xattrs say about them.
//
// Checks: sizes, sectors, link counts, backpointers, d_types, flags and the list of deleted inodes, as every inode's own snapshot sees
// them; no directory is below itself. Needs: the snapshot table. Bounds: see inode-rows.ts; everything else goes by in one walk.
// Source: check_inode, check_extent, check_dirent, check_nlinks_update_inode and check_path in fsck.c, inode.c, v1.13.0.

import { inodeOfKey } from '../fs/inode.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposInode, bposOffset, compareBpos, makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import type { Location } from '../ondisk/errors.ts';
import { FILE_TYPE_DIR, fileTypes } from '../ondisk/inode-tables.ts';
import { modeType, ROOT_INODE } from '../ondisk/inode-unpack.ts';
import { type Dirent, dirent } from '../ondisk/keys/dirent.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { ROOT_SUBVOLUME, type SnapshotTable } from '../snapshots/snapshot-table.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import type { Counters } from './accounting.ts';
import { type InvariantContext, keyPlace } from './context.ts';
import {
  DIRENT_FOUND,
  HAS_CHILD_SNAPSHOT,
  InodeRows,
  IS_DIRECTORY,
  IS_SECTORS_DIRTY,
  IS_UNLINKED,
  PATH_ENDS,
} from './inode-rows.ts';
import { NameHashes } from './name-hash.ts';
import { type NamePlace, nameTargetAt } from './name-target.ts';
import { entriesOf } from './pointers.ts';
import type { SnapshotLinks } from './snapshots.ts';

const type = (name: Parameters<typeof keyTypes.idOf>[0]) => keyTypes.idOf(name);
const SET = type('set');
const WHITEOUTS: readonly number[] = [type('whiteout'), type('extent_whiteout'), type('hash_whiteout')];
const DIRENT = type('dirent');
const XATTR = type('xattr');
const RESERVATION = type('reservation');
const REFLINK_P = type('reflink_p');
/** What counts as sectors of a file: bkey_extent_is_allocation. */
const ALLOCATED: readonly number[] = [type('extent'), RESERVATION, REFLINK_P, type('inline_data'), type('error')];
/** Inodes of files with extents: regular ones and long symlinks. */
const WITH_EXTENTS: readonly number[] = [fileTypes.idOf('reg'), fileTypes.idOf('lnk')];

const INODES = btrees.idOf('inodes');
const EXTENTS = btrees.idOf('extents');
const DIRENTS = btrees.idOf('dirents');
const XATTRS = btrees.idOf('xattrs');
const DELETED_INODES = btrees.idOf('deleted_inodes');

export class Files {
  readonly rows = new InodeRows();
  readonly #context: InvariantContext;
  readonly #table: SnapshotTable;
  readonly #missingSnapshots = new Set<string>();
  /** Names of subvolumes: directory, offset and subvolume. Older versions of a root directory are named by the same. */
  readonly #subvolumeNames = new Set<string>();

  constructor(context: InvariantContext, table: SnapshotTable) {
    this.#context = context;
    this.#table = table;
  }

  /** All inodes, with the list of those that are to be deleted beside them: both are in the order of inodes. */
  readInodes(counters: Counters): void {
    const { report } = this.#context;
    const deleted = new DeletedList(this.#context);
    let first = 0;
    for (const key of this.#context.keys('inodes')) {
      this.#checkSnapshot('inodes', key.k.p);
      const inode = inodeOfKey(key, damage => this.#context.damaged(damage));
      if (inode === undefined) continue;
      counters.add({ type: 'nr_inodes' }, [1]);
      const where = keyPlace(INODES, key.k.p);
      const row = this.rows.add(bposOffset(key.k.p), key.k.p[0]!, inode);
      const { columns } = this.rows;
      if (columns.inum[first] !== columns.inum[row]) first = row;
      if (columns.seed[first] !== columns.seed[row] || this.rows.direntType(first) !== this.rows.direntType(row)) {
        const facts = { seed: columns.seed[row]!, type: this.rows.direntType(row) };
        report.add('inode_snapshot_mismatch', where, facts);
      }
      this.#checkChildren(where, first, row);
      if (inode.bi_parent_subvol !== 0 && (inode.bi_subvol === 0 || inode.bi_subvol === ROOT_SUBVOLUME)) {
        report.add('inode_bi_parent_nonzero', where, { found: inode.bi_parent_subvol, expected: 0 });
      }
      const isGoing = this.rows.has(row, IS_UNLINKED) && !this.rows.has(row, HAS_CHILD_SNAPSHOT);
      deleted.visit(key.k.p, isGoing);
    }
    deleted.finish();
  }

  #checkChildren(where: Location, first: number, row: number): void {
    const { snapshot } = this.rows.columns;
    let hasChild = false;
    for (let other = first; other < row && !hasChild; other++) {
      hasChild = this.#table.isAncestor(snapshot[other]!, snapshot[row]!);
    }
    if (hasChild !== this.rows.has(row, HAS_CHILD_SNAPSHOT)) {
      this.#context.report.add('inode_has_child_snapshots_wrong', where, { found: !hasChild, expected: hasChild });
    }
  }

  /** The extents of each file. @param visit called with each key */
  walkExtents(visit: (key: Key) => void): void {
    const { report } = this.#context;
    const { columns } = this.rows;
    const blockBytes = this.#context.sb.block_size * SECTOR_BYTES;
    for (const group of this.#groups('extents')) {
      const inum = bposInode(group[0]!.k.p);
      const [first, end] = this.rows.of(inum);
      for (const key of group) {
        visit(key);
        this.#checkSnapshot('extents', key.k.p);
        const { k } = key;
        if (!WHITEOUTS.includes(k.type)) this.#checkOwner(EXTENTS, k.p, first, end, WITH_EXTENTS);
      }
      for (let row = first; row < end; row++) {
        const key = this.#nearest(group, columns.snapshot[row]!);
        if (key === undefined || WHITEOUTS.includes(key.k.type)) continue;
        const { k } = key;
        const where = keyPlace(EXTENTS, k.p);
        const endOffset = Number(bposOffset(k.p));
        if (endOffset - k.size < columns.lastEnd[row]!) {
          const least = columns.lastEnd[row]!;
          const facts = { start: endOffset - k.size, end: endOffset, least, snapshot: columns.snapshot[row]! };
          report.add('extent_overlapping', where, facts);
        }
        columns.lastEnd[row] = endOffset;
        if (ALLOCATED.includes(k.type)) columns.sectorsSeen[row] = columns.sectorsSeen[row]! + k.size;
        const size = Math.ceil(columns.size[row]! / blockBytes) * (blockBytes / SECTOR_BYTES);
        if (endOffset > size && !isReservation(key)) {
          const facts = { end: endOffset, most: size, snapshot: columns.snapshot[row]! };
          report.add('extent_past_end_of_inode', where, facts);
        }
      }
    }
  }

  walkXattrs(): void {
    const hashes = new NameHashes(this.#context, this.#table, this.rows);
    for (const key of this.#context.keys('xattrs')) {
      this.#checkSnapshot('xattrs', key.k.p);
      if (key.k.type !== XATTR) continue;
      const [first, end] = this.rows.of(bposInode(key.k.p));
      this.#checkOwner(XATTRS, key.k.p, first, end, undefined);
      hashes.check('xattrs', key);
    }
  }

  walkDirents(links: SnapshotLinks): void {
    const hashes = new NameHashes(this.#context, this.#table, this.rows);
    for (const group of this.#groups('dirents')) {
      const { p } = group[0]!.k;
      for (const key of group) {
        this.#checkSnapshot('dirents', key.k.p);
        if (key.k.type !== DIRENT || key.value.length < dirent.minBytes) continue;
        const [first, end] = this.rows.of(bposInode(p));
        this.#checkOwner(DIRENTS, key.k.p, first, end, [FILE_TYPE_DIR]);
        hashes.check('dirents', key);
        const value = dirent.decode(key.value);
        if ('inum' in value.target) this.#checkDirent(group, key, value, value.target.inum);
        else this.#checkSubvolumeDirent(key, value, links);
        if (value.type === FILE_TYPE_DIR) this.#countSubdirectory(group, key, first, end);
      }
    }
  }

  #countSubdirectory(group: readonly Key[], key: Key, first: number, end: number): void {
    const { columns } = this.rows;
    for (let row = first; row < end; row++) {
      if (this.#nearest(group, columns.snapshot[row]!) === key) columns.links[row] = columns.links[row]! + 1;
    }
  }

  /** A name of a file: every inode that sees it, and the nearest one above it, is judged by it. */
  #checkDirent(group: readonly Key[], key: Key, value: Dirent, inum: bigint): void {
    const { report } = this.#context;
    const { columns } = this.rows;
    const where = keyPlace(DIRENTS, key.k.p);
    const own = key.k.p[0]!;
    // Naming the target changes which rows were asked for last, so this comes after the owner's.
    const [first, end] = this.rows.of(inum);
    let hasTarget = false;
    for (let row = first; row < end; row++) {
      const snapshot = columns.snapshot[row]!;
      const isSeen = snapshot <= own ? this.#nearest(group, snapshot) === key : this.#table.isAncestor(own, snapshot);
      if (!isSeen) continue;
      hasTarget = true;
      this.#checkTarget(where, key, value, row, snapshot <= own);
      if (!this.rows.has(row, IS_DIRECTORY)) columns.links[row] = columns.links[row]! + 1;
      if (snapshot >= own) break;
    }
    if (!hasTarget) report.add('dirent_to_missing_inode', where, { inum });
  }

  /** @param isInSight the inode's own snapshot sees the dirent */
  #checkTarget(where: Location, key: Key, value: Dirent, row: number, isInSight: boolean): void {
    const { report } = this.#context;
    const { columns } = this.rows;
    const expected = this.rows.direntType(row);
    report.compare('dirent_d_type_wrong', where, value.type, expected);
    if (this.rows.has(row, IS_UNLINKED)) {
      report.add('inode_unlinked_but_has_dirent', where, { inum: columns.inum[row]! });
    }
    const isNamed = columns.dir[row] === bposInode(key.k.p) && columns.dirOffset[row] === bposOffset(key.k.p);
    if (isNamed) {
      if (isInSight) this.rows.set(row, DIRENT_FOUND);
      return;
    }
    const isDirectory = this.rows.has(row, IS_DIRECTORY);
    const hasBackpointer = columns.dir[row] !== 0n || columns.dirOffset[row] !== 0n;
    // The name of one of several links is not kept everywhere.
    if (isDirectory || (columns.nlink[row] === 0 && hasBackpointer)) {
      const named = { dir: columns.dir[row]!, dirOffset: columns.dirOffset[row]! };
      const inode = { inum: columns.inum[row]!, snapshot: columns.snapshot[row]! };
      report.add('inode_wrong_backpointer', where, { ...inode, ...named, expected: key.k.p.slice() });
    }
  }

  #checkSubvolumeDirent(key: Key, value: Dirent, links: SnapshotLinks): void {
    if (!('child_subvol' in value.target)) return;
    const { report } = this.#context;
    const { columns } = this.rows;
    const where = keyPlace(DIRENTS, key.k.p);
    const { child_subvol, parent_subvol } = value.target;
    const parent = links.subvolumes.get(parent_subvol);
    if (parent === undefined) {
      report.add('dirent_to_missing_parent_subvol', where, { subvolume: parent_subvol });
    } else if (!this.#table.isAncestor(parent.snapshot, key.k.p[0]!)) {
      const facts = { snapshot: key.k.p[0]!, parentSnapshot: parent.snapshot };
      report.add('dirent_not_visible_in_parent_subvol', where, facts);
    }
    this.#subvolumeNames.add(`${bposInode(key.k.p)}:${bposOffset(key.k.p)}:${child_subvol}`);
    const child = links.subvolumes.get(child_subvol);
    if (child === undefined) {
      report.add('dirent_to_missing_subvol', where, { subvolume: child_subvol });
      return;
    }
    report.compare('subvol_fs_path_parent_wrong', where, child.fs_path_parent, parent_subvol);
    const row = this.rows.seenFrom(child.inode, child.snapshot, this.#table);
    if (row === undefined) return; // subvol_to_missing_root says so
    report.compare('inode_bi_parent_wrong', where, columns.parentSubvolume[row]!, parent_subvol);
    this.#checkTarget(where, key, value, row, true);
  }

  /** When everything was walked: what was counted against what inodes say. */
  finish(links: SnapshotLinks): void {
    const { report } = this.#context;
    const { columns } = this.rows;
    for (let row = 0; row < this.rows.count; row++) {
      const where = keyPlace(INODES, makeBpos(0n, columns.inum[row]!, columns.snapshot[row]!));
      if (!this.rows.has(row, IS_SECTORS_DIRTY)) {
        report.compare('inode_i_sectors_wrong', where, columns.sectors[row]!, columns.sectorsSeen[row]!);
      }
      this.#checkLinks(where, row);
      this.#checkName(where, row);
      this.#checkSubvolume(where, row, links);
      if (this.rows.has(row, IS_DIRECTORY)) this.#checkPath(where, row);
    }
  }

  #checkLinks(where: Location, row: number): void {
    const { report } = this.#context;
    const { columns } = this.rows;
    const links = columns.links[row]!;
    const nlink = columns.nlink[row]!;
    if (this.rows.has(row, IS_DIRECTORY)) {
      report.compare('inode_dir_wrong_nlink', where, nlink, links);
    } else if (this.rows.has(row, IS_UNLINKED)) {
      return; // names that lead to it are reported where they are
    } else if (nlink !== 0) {
      // What every file has is not counted.
      report.compare('inode_wrong_nlink', where, nlink + 1, links);
    } else if (links > 1) {
      report.add('inode_multiple_links_but_nlink_0', where, { links });
    }
  }

  #checkName(where: Location, row: number): void {
    const { report } = this.#context;
    const { columns } = this.rows;
    const hasName = columns.dir[row] !== 0n;
    const subvolume = columns.subvolume[row]!;
    const isFound =
      this.rows.has(row, DIRENT_FOUND) ||
      (subvolume !== 0 && this.#subvolumeNames.has(`${columns.dir[row]}:${columns.dirOffset[row]}:${subvolume}`));
    if ((hasName || columns.dirOffset[row] !== 0n) && !isFound) {
      const facts = { dir: columns.dir[row]!, dirOffset: columns.dirOffset[row]! };
      const leadsTo = this.#targetAt(facts, columns.snapshot[row]!);
      if (leadsTo === undefined) report.add('inode_points_to_missing_dirent', where, facts);
      else report.add('inode_points_to_wrong_dirent', where, { ...facts, leadsTo });
    }
    const isRoot = columns.inum[row] === ROOT_INODE && columns.subvolume[row] === ROOT_SUBVOLUME;
    const hasLink = !this.rows.has(row, IS_DIRECTORY) && columns.links[row] !== 0;
    if (!hasName && !isRoot && !hasLink && !this.rows.has(row, IS_UNLINKED)) {
      report.add('inode_unreachable', where, {});
    }
  }

  /** What the name at a place in a directory leads to, as a snapshot sees it. */
  #targetAt(name: NamePlace, snapshot: number): bigint | undefined {
    return nameTargetAt(this.#context.source.btree('dirents'), this.#table, name, snapshot);
  }

  #checkSubvolume(where: Location, row: number, links: SnapshotLinks): void {
    const { report } = this.#context;
    const { columns } = this.rows;
    const id = columns.subvolume[row]!;
    if (id === 0) return;
    const known = links.subvolumes.get(id);
    if (known === undefined) {
      report.add('inode_bi_subvol_missing', where, { subvolume: id });
    } else if (known.inode !== columns.inum[row] || !this.#table.isAncestor(known.snapshot, columns.snapshot[row]!)) {
      report.add('inode_bi_subvol_wrong', where, { subvolume: id, root: known.inode, snapshot: known.snapshot });
    }
  }

  /** Up through the directories, until one that is known to end, a root, or one that was met on the way. */
  #checkPath(where: Location, row: number): void {
    const { columns } = this.rows;
    const path: number[] = [];
    const onPath = new Set<number>();
    let current: number | undefined = row;
    while (current !== undefined && !this.rows.has(current, PATH_ENDS)) {
      if (onPath.has(current)) {
        this.#context.report.add('dir_loop', where, { directories: path.length });
        break;
      }
      onPath.add(current);
      path.push(current);
      if (columns.subvolume[current] !== 0 || columns.dir[current] === 0n) break;
      current = this.rows.seenFrom(columns.dir[current]!, columns.snapshot[current]!, this.#table);
    }
    for (const passed of path) this.rows.set(passed, PATH_ENDS);
  }

  /** A key belongs to an inode that its snapshot sees. @param modes types that may have such keys; any */
  #checkOwner(btree: number, p: Bpos, first: number, end: number, modes: readonly number[] | undefined): void {
    const { columns } = this.rows;
    for (let row = first; row < end; row++) {
      if (!this.#table.isAncestor(p[0]!, columns.snapshot[row]!)) continue;
      const mode = modeType(columns.mode[row]!);
      if (modes !== undefined && !modes.includes(mode)) {
        this.#context.report.add('key_in_wrong_inode_type', keyPlace(btree, p), { found: mode, allowed: modes });
      }
      return;
    }
    this.#context.report.add('key_in_missing_inode', keyPlace(btree, p), { inum: bposInode(p) });
  }

  /** Keys of one position, in all snapshots. */
  *#groups(btree: 'extents' | 'dirents'): Generator<readonly Key[]> {
    let group: Key[] = [];
    for (const key of this.#context.keys(btree)) {
      const last = group[0]?.k.p;
      const { p } = key.k;
      if (last !== undefined && (last[1] !== p[1] || last[2] !== p[2] || last[3] !== p[3] || last[4] !== p[4])) {
        yield group;
        group = [];
      }
      group.push(key);
    }
    if (group.length > 0) yield group;
  }

  /** What a snapshot sees of a group. */
  #nearest(group: readonly Key[], snapshot: number): Key | undefined {
    for (const key of group) if (this.#table.isAncestor(snapshot, key.k.p[0]!)) return key;
    return undefined;
  }

  #checkSnapshot(btree: 'inodes' | 'extents' | 'dirents' | 'xattrs', p: Bpos): void {
    const id = p[0]!;
    if (this.#table.node(id) !== undefined) return;
    const missing = `${btree} ${id}`;
    if (this.#missingSnapshots.has(missing)) return;
    this.#missingSnapshots.add(missing);
    this.#context.report.add('bkey_in_missing_snapshot', keyPlace(btrees.idOf(btree), p), { snapshot: id });
  }
}

/** Space that is set aside, or taken and not written yet. Mirrors bkey_extent_is_reservation. */
function isReservation(key: Key): boolean {
  if (key.k.type === RESERVATION) return true;
  return entriesOf(key).some(entry => entry.type === 'ptr' && entry.unwritten);
}

/** The deleted_inodes btree beside the walk of the inodes. */
class DeletedList {
  readonly #context: InvariantContext;
  readonly #keys: Iterator<Key>;
  #next: Key | undefined;

  constructor(context: InvariantContext) {
    this.#context = context;
    this.#keys = context.report.asks('deleted_inode_not_unlinked')
      ? context.keys('deleted_inodes')
      : [][Symbol.iterator]();
    this.#advance();
  }

  visit(pos: Bpos, isGoing: boolean): void {
    while (this.#next !== undefined && compareBpos(this.#next.k.p, pos) < 0) this.#reportNext();
    const isListed = this.#next !== undefined && compareBpos(this.#next.k.p, pos) === 0;
    if (isListed && isGoing) this.#advance();
    else if (isGoing) {
      this.#context.report.add('unlinked_inode_not_on_deleted_list', keyPlace(INODES, pos), {});
    }
  }

  finish(): void {
    while (this.#next !== undefined) this.#reportNext();
  }

  #reportNext(): void {
    if (this.#next !== undefined) {
      const where = keyPlace(DELETED_INODES, this.#next.k.p);
      this.#context.report.add('deleted_inode_not_unlinked', where, {});
    }
    this.#advance();
  }

  #advance(): void {
    do {
      const { done, value } = this.#keys.next();
      this.#next = done ? undefined : value;
    } while (this.#next !== undefined && this.#next.k.type !== SET);
  }
}
