// check_dirents: names are in directories, where lookups find them, and lead to inodes that know them.
//
// Checks: owners (owners.ts), hashes (name-hashes.ts), then what each name leads to, as every version of the target sees it. Needs:
// check_inodes, check_extents (files whose inode was lost are there again), subvolumes.
// Raises: key_in_missing_inode, key_in_wrong_inode_type, hash_table_key_wrong_offset, hash_table_key_duplicate, dirent_to_missing_inode,
// dirent_d_type_wrong, inode_unlinked_but_has_dirent, inode_dir_missing_backpointer, inode_wrong_backpointer, inode_dir_multiple_links,
// dirent_to_missing_subvol, dirent_to_missing_parent_subvol, dirent_not_visible_in_parent_subvol, subvol_fs_path_parent_wrong,
// inode_bi_parent_wrong; and inode_points_to_missing_dirent and inode_points_to_wrong_dirent, for which the kernel looks up every inode in
// check_inodes, and which here needs lookups only where something is wrong. Memory: the inode index, 17 bytes for each row, and what is wrong.
// Repair: a directory that is missing is made again from its entries. A name that is there twice is kept as `NAME.fsck_renamed-N`. Only a
// name that leads to nothing at all goes, and a second one of a directory.
// Source: check_dirent, check_dirent_target and check_dirent_to_subvol in fsck.c, v1.13.0.

import { IS_DIRECTORY, IS_UNLINKED } from '../../check/inode-rows.ts';
import { type NamePlace, nameTargetAt } from '../../check/name-target.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposInode, bposOffset, makeBpos } from '../../ondisk/bpos.ts';
import { btrees } from '../../ondisk/btrees.ts';
import type { Location } from '../../ondisk/errors.ts';
import type { FaultName } from '../../ondisk/faults.ts';
import { FILE_TYPE_LNK, FILE_TYPE_SUBVOL } from '../../ondisk/inode-tables.ts';
import { type Dirent, type DirentTarget, dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { type Finding, finding } from '../../report/finding.ts';
import type { Proposal } from '../../report/reporter.ts';
import { ROOT_SUBVOLUME } from '../../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../../snapshots/visible.ts';
import type { Pass, PassContext } from '../pass.ts';
import { FileRepairs, UNLINKED } from './file-repairs.ts';
import {
  groupsOf,
  type InodeIndex,
  inodeIndex,
  nearest,
  placeOf,
  placeOfKey,
  rangeOfInode,
  reportedBefore,
} from './inode-index.ts';
import { misplacedNames } from './name-hashes.ts';
import { checkOwners, recreate } from './owners.ts';
import { RepairQueue } from './repair-queue.ts';

const DIRENT = keyTypes.idOf('dirent');
const DIRENTS = btrees.idOf('dirents');

export const checkDirents: Pass = {
  name: 'check_dirents',
  needs: ['check_inodes', 'check_extents', 'delete_dead_snapshots', 'check_subvols'],
  run(context) {
    if (context.unreadable.has('dirents')) return;
    placeNames(context, checkOwners(context, 'dirents'));
    const targets = new TargetCheck(context);
    targets.walk();
    targets.checkNames();
    targets.repair();
  },
};

/** Names go where lookups find them. */
function placeNames(context: PassContext, index: InodeIndex): void {
  const files = new FileRepairs(context);
  const repairs = new RepairQueue(context);
  for (const { key, other } of misplacedNames(context, 'dirents', index))
    repairs.add(() => placeName(files, key, other));
  repairs.run();
}

function placeName(files: FileRepairs, key: Key, other: Key | undefined): void {
  const { p } = key.k;
  const owner = files.inode(bposInode(p), p[0]!);
  if (owner === undefined) return;
  const own = dirent.decode(key.value);
  const table = files.direntTable(bposInode(p), p[0]!, owner.inode);
  const found = other ?? files.findName(table, own.name);
  if (found === undefined) files.moveName(key);
  // Two entries of one name for one file say the same.
  else if (isSameTarget(dirent.decode(found.value).target, own.target)) files.removeName(key);
  else files.moveName(key, files.freeName(table, own.name, 'fsck_renamed'));
}

function isSameTarget(a: DirentTarget, b: DirentTarget): boolean {
  if ('inum' in a) return 'inum' in b && a.inum === b.inum;
  return !('inum' in b) && a.child_subvol === b.child_subvol && a.parent_subvol === b.parent_subvol;
}

class TargetCheck {
  readonly #context: PassContext;
  readonly #index: InodeIndex;
  readonly #files: FileRepairs;
  readonly #repairs: RepairQueue;
  /** Whether the name that a row has noted was found. */
  readonly #isFound: Uint8Array;
  /** Some name that each row sees, for those whose own is not there. */
  readonly #dirs: BigUint64Array;
  readonly #offsets: BigUint64Array;
  /** Names of subvolumes: directory, offset and subvolume. Older versions of a root directory are named by the same. */
  readonly #subvolumeNames = new Set<string>();
  /** Names that go: they no longer count as one. */
  readonly #gone = new Set<string>();

  constructor(context: PassContext) {
    this.#context = context;
    this.#index = inodeIndex(context);
    this.#files = new FileRepairs(context);
    this.#repairs = new RepairQueue(context);
    const { count } = this.#index.rows;
    this.#isFound = new Uint8Array(count);
    this.#dirs = new BigUint64Array(count);
    this.#offsets = new BigUint64Array(count);
  }

  repair(): void {
    this.#repairs.run();
  }

  walk(): void {
    for (const group of groupsOf(this.#context, 'dirents')) {
      for (const key of group) {
        if (key.k.type !== DIRENT || key.value.length < dirent.minBytes) continue;
        const value = dirent.decode(key.value);
        if ('inum' in value.target) this.#checkEntry(group, key, value, value.target.inum);
        else this.#checkSubvolumeEntry(key, value.target);
      }
    }
  }

  #checkEntry(group: readonly Key[], key: Key, value: Dirent, inum: bigint): void {
    const { rows, table } = this.#index;
    const { snapshot } = rows.columns;
    const own = key.k.p[0]!;
    const [first, end] = rows.of(inum);
    let hasTarget = false;
    let isTypeJudged = false;
    for (let row = first; row < end; row++) {
      const version = snapshot[row]!;
      const isInSight = version <= own;
      if (isInSight ? nearest(group, version, table) !== key : !table.isAncestor(own, version)) continue;
      hasTarget = true;
      if (!isTypeJudged) this.#checkType(key, value, row);
      isTypeJudged = true;
      this.#checkBackpointer(key, row, isInSight);
      if (version >= own) break;
    }
    if (!hasTarget) this.#missingTarget(key, value, inum);
  }

  #missingTarget(key: Key, { type }: Dirent, inum: bigint): void {
    if (this.#context.unreadable.has('inodes')) return;
    const { p } = key.k;
    const keeps = this.#context.lostData.has('inodes') || this.#hasContents(inum);
    const after = keeps ? `the inode ${inum} is made anew` : 'the name goes';
    const found = finding('dirent_to_missing_inode', this.#place(key, 'dirent_to_missing_inode'), { inum });
    if (!this.#isToBeFixed(found, { after })) return;
    const copy = ownCopy(key);
    if (keeps) this.#repairs.add(() => recreate(this.#files, 'xattrs', inum, p[0]!, type));
    else {
      this.#context.drop(DIRENTS, key, 'the name leads to an inode that is missing, and nothing of it is left');
      this.#repairs.add(() => this.#files.removeName(copy));
    }
  }

  /** Whether anything is left of an inode that is missing. */
  #hasContents(inum: bigint): boolean {
    const { from, to } = rangeOfInode(inum);
    return (['extents', 'dirents', 'xattrs'] as const).some(
      name => this.#files.tx.btree(name).first(from, to, { onDamage: reportedBefore }) !== undefined,
    );
  }

  #checkType(key: Key, { type }: Dirent, row: number): void {
    const { rows } = this.#index;
    const expected = rows.direntType(row);
    if (type === expected) return;
    const { columns } = rows;
    const where = this.#place(key, 'dirent_d_type_wrong');
    if (!this.#isToBeFixed(finding('dirent_d_type_wrong', where, { found: type, expected }))) return;
    const [inum, subvolume, parent] = [columns.inum[row]!, columns.subvolume[row]!, columns.parentSubvolume[row]!];
    const [copy, version] = [ownCopy(key), columns.snapshot[row]!];
    this.#repairs.add(() => {
      const own = this.#files.inode(inum, version);
      // A link that lost its inode is made again as a file, which its name knows better.
      if (
        type === FILE_TYPE_LNK &&
        own !== undefined &&
        (own.inode.bi_mode & 0o7777) === 0o600 &&
        own.inode.bi_size < 4096n
      ) {
        this.#files.editInode(inum, version, inode => {
          inode.bi_mode = (FILE_TYPE_LNK << 12) | 0o777;
        });
      } else if (expected === FILE_TYPE_SUBVOL) {
        const parent_subvol = parent === 0 ? (this.#files.subvolumeShowing(copy.k.p[0]!)?.id ?? 1) : parent;
        this.#files.retarget(copy, expected, { child_subvol: subvolume, parent_subvol });
      } else this.#files.retarget(copy, expected, { inum });
    });
  }

  /** @param isInSight the version's own snapshot sees the name */
  #checkBackpointer(key: Key, row: number, isInSight: boolean): void {
    const { rows } = this.#index;
    const { columns } = rows;
    const { p } = key.k;
    if (rows.has(row, IS_UNLINKED)) this.#clearUnlinked(key, row);
    const [dir, offset] = [bposInode(p), bposOffset(p)];
    if (isInSight && this.#dirs[row] === 0n) {
      this.#dirs[row] = dir;
      this.#offsets[row] = offset;
    }
    if (columns.dir[row] === dir && columns.dirOffset[row] === offset) {
      if (isInSight) this.#isFound[row] = 1;
      return;
    }
    const isDirectory = rows.has(row, IS_DIRECTORY);
    if (columns.dir[row] === 0n && columns.dirOffset[row] === 0n) {
      if (isDirectory) this.#missingBackpointer(key, row);
      return;
    }
    // The name of one of several links is not kept everywhere.
    if (!isDirectory && columns.nlink[row] !== 0) return;
    if (isInSight && this.#isNamedElsewhere(row)) {
      if (isDirectory) this.#secondName(key, row);
      return;
    }
    this.#wrongBackpointer(key, row, isInSight);
  }

  #clearUnlinked(key: Key, row: number): void {
    const { columns } = this.#index.rows;
    const [inum, snapshot] = [columns.inum[row]!, columns.snapshot[row]!];
    const where = this.#place(key, 'inode_unlinked_but_has_dirent');
    if (!this.#isToBeFixed(finding('inode_unlinked_but_has_dirent', where, { inum }))) return;
    this.#repairs.add(() =>
      this.#files.editInode(inum, snapshot, inode => {
        inode.bi_flags &= ~UNLINKED;
      }),
    );
  }

  /** @param older versions that do not know it either, and have no name of their own */
  #missingBackpointer(key: Key, row: number, older: readonly number[] = []): void {
    const detail = 'a directory that does not know its name';
    const error = 'inode_dir_missing_backpointer';
    const where = placeOf(this.#context, this.#index, row, this.#context.reporter.countOf(error));
    const found = finding(error, where, { detail });
    if (!this.#isToBeFixed(found)) return;
    for (const version of [row, ...older]) this.#setBackpointer(version, key);
  }

  /** The name that it has noted is there, and leads to it. */
  #isNamedElsewhere(row: number): boolean {
    const { table, rows } = this.#index;
    const { columns } = rows;
    if (this.#isFound[row] !== 0) return true;
    const [dir, offset, snapshot] = [columns.dir[row]!, columns.dirOffset[row]!, columns.snapshot[row]!];
    const pos = makeBpos(dir, offset, snapshot);
    const options = { onDamage: reportedBefore };
    const key = visibleKeyAt(this.#files.tx.btree('dirents'), table, snapshot, pos, options);
    if (key?.k.type !== DIRENT || this.#gone.has(nameId(key))) return false;
    const { target } = dirent.decode(key.value);
    return 'inum' in target && target.inum === columns.inum[row];
  }

  #secondName(key: Key, row: number): void {
    const { columns } = this.#index.rows;
    const detail = `a second name of the directory ${columns.inum[row]}, expected one`;
    const where = this.#place(key, 'inode_dir_multiple_links');
    const found = finding('inode_dir_multiple_links', where, { detail });
    if (!this.#isToBeFixed(found, { after: 'the name goes' })) return;
    this.#gone.add(nameId(key));
    this.#context.drop(DIRENTS, key, 'a second name of a directory');
    const copy = ownCopy(key);
    this.#repairs.add(() => this.#files.removeName(copy));
  }

  /** @param older see #missingBackpointer */
  #wrongBackpointer(key: Key, row: number, isInSight: boolean, older: readonly number[] = []): void {
    const { columns } = this.#index.rows;
    const facts = {
      inum: columns.inum[row]!,
      snapshot: columns.snapshot[row]!,
      dir: columns.dir[row]!,
      dirOffset: columns.dirOffset[row]!,
      expected: key.k.p.slice(),
    };
    const where = this.#place(key, 'inode_wrong_backpointer');
    if (!this.#isToBeFixed(finding('inode_wrong_backpointer', where, facts))) return;
    if (isInSight) for (const version of [row, ...older]) this.#setBackpointer(version, key);
    else this.#ownVersion(row, key);
  }

  #setBackpointer(row: number, key: Key): void {
    const { columns } = this.#index.rows;
    const [dir, offset] = [bposInode(key.k.p), bposOffset(key.k.p)];
    columns.dir[row] = dir;
    columns.dirOffset[row] = offset;
    this.#isFound[row] = 1;
    const [inum, snapshot] = [columns.inum[row]!, columns.snapshot[row]!];
    this.#repairs.add(() =>
      this.#files.editInode(inum, snapshot, inode => {
        inode.bi_dir = dir;
        inode.bi_dir_offset = offset;
      }),
    );
  }

  /** A name in a younger snapshot, where the inode has no version of its own that could note it. */
  #ownVersion(row: number, key: Key): void {
    const { columns } = this.#index.rows;
    const [inum, snapshot] = [columns.inum[row]!, key.k.p[0]!];
    const [bi_dir, bi_dir_offset] = [bposInode(key.k.p), bposOffset(key.k.p)];
    this.#repairs.add(() => {
      const seen = this.#files.inode(inum, snapshot);
      if (seen !== undefined) this.#files.createInode(inum, snapshot, { ...seen.inode, bi_dir, bi_dir_offset });
    });
  }

  /** The one subvolume whose root directory knows this name. */
  #knowing(key: Key): number | undefined {
    const { rows, table } = this.#index;
    const { dir, dirOffset } = rows.columns;
    const knowing = table.subvolumes().filter(({ id, rootInode, snapshot }) => {
      const row = id === ROOT_SUBVOLUME ? undefined : rows.seenFrom(rootInode, snapshot, table);
      return row !== undefined && dir[row] === bposInode(key.k.p) && dirOffset[row] === bposOffset(key.k.p);
    });
    return knowing.length === 1 ? knowing[0]?.id : undefined;
  }

  #checkSubvolumeEntry(key: Key, target: Exclude<DirentTarget, { readonly inum: bigint }>): void {
    const { table } = this.#index;
    if (this.#context.unreadable.has('subvolumes')) return;
    const { child_subvol } = target;
    if (child_subvol === ROOT_SUBVOLUME) {
      // What a mount shows has no name: one that leads there leads back to itself.
      const detail = 'a name for the first subvolume, which is in no other';
      const found = finding('subvol_loop', this.#place(key, 'subvol_loop'), { detail });
      const own = this.#knowing(key);
      const copy = ownCopy(key);
      if (!this.#isToBeFixed(found, { after: own === undefined ? 'the name goes' : `it is that of subvolume ${own}` }))
        return;
      if (own === undefined) {
        this.#context.drop(DIRENTS, key, 'the name leads to the first subvolume');
        this.#repairs.add(() => this.#files.removeName(copy));
      } else {
        const { parent_subvol } = target;
        this.#repairs.add(() => this.#files.retarget(copy, FILE_TYPE_SUBVOL, { child_subvol: own, parent_subvol }));
        this.#subvolumeNames.add(`${bposInode(key.k.p)}:${bposOffset(key.k.p)}:${own}`);
      }
      return;
    }
    const child = table.subvolume(child_subvol);
    if (child === undefined) {
      const where = this.#place(key, 'dirent_to_missing_subvol');
      const found = finding('dirent_to_missing_subvol', where, { subvolume: child_subvol });
      if (!this.#isToBeFixed(found, { after: 'the name goes' })) return;
      this.#context.drop(DIRENTS, key, 'the name leads to a subvolume that is missing');
      const copy = ownCopy(key);
      this.#repairs.add(() => this.#files.removeName(copy));
      return;
    }
    const parent = this.#checkParent(key, target, child.fsPathParent);
    if (!this.#checkSubvolumeName(key, child_subvol, child.rootInode, child.snapshot)) return;
    this.#subvolumeNames.add(`${bposInode(key.k.p)}:${bposOffset(key.k.p)}:${child_subvol}`);
    if (child.fsPathParent !== parent) {
      const where = this.#place(key, 'subvol_fs_path_parent_wrong');
      const found = finding('subvol_fs_path_parent_wrong', where, { found: child.fsPathParent, expected: parent });
      if (this.#isToBeFixed(found)) this.#repairs.add(() => this.#files.setParent(child_subvol, parent));
    }
    this.#checkRootParent(key, child_subvol, child.rootInode, child.snapshot, parent);
  }

  /** The subvolume that has the name: the one that it says, or one that sees it. */
  #checkParent(key: Key, target: Exclude<DirentTarget, { readonly inum: bigint }>, claimed: number): number {
    const { table } = this.#index;
    const own = key.k.p[0]!;
    const { child_subvol, parent_subvol } = target;
    const parent = table.subvolume(parent_subvol);
    if (parent !== undefined && table.isAncestor(parent.snapshot, own)) return parent_subvol;
    const seeing = table.subvolumes().filter(one => table.isAncestor(one.snapshot, own));
    const right =
      seeing.find(one => one.id === claimed) ?? seeing.find(one => one.snapshot === own) ?? seeing[0] ?? parent;
    const found =
      parent === undefined
        ? finding('dirent_to_missing_parent_subvol', this.#place(key, 'dirent_to_missing_parent_subvol'), {
            subvolume: parent_subvol,
          })
        : finding('dirent_not_visible_in_parent_subvol', this.#place(key, 'dirent_not_visible_in_parent_subvol'), {
            snapshot: own,
            parentSnapshot: parent.snapshot,
          });
    const isRepairable = right !== undefined && right !== parent;
    if (!this.#isToBeFixed(found, { isRepairable }) || right === undefined) return parent_subvol;
    const copy = ownCopy(key);
    this.#repairs.add(() => this.#files.retarget(copy, FILE_TYPE_SUBVOL, { child_subvol, parent_subvol: right.id }));
    return right.id;
  }

  /** @returns whether it is the name of the subvolume, and not a second one */
  #checkSubvolumeName(key: Key, id: number, rootInode: bigint, snapshot: number): boolean {
    const { rows, table } = this.#index;
    const { columns } = rows;
    const row = rows.seenFrom(rootInode, snapshot, table);
    if (row === undefined || columns.subvolume[row] !== id) return true; // subvol_to_missing_root says so
    if (rows.has(row, IS_UNLINKED)) this.#clearUnlinked(key, row);
    const [dir, offset] = [bposInode(key.k.p), bposOffset(key.k.p)];
    if (columns.dir[row] === dir && columns.dirOffset[row] === offset) {
      this.#isFound[row] = 1;
      return true;
    }
    if (columns.dir[row] === 0n) {
      this.#missingBackpointer(key, row, this.#olderRoots(row, id));
      return true;
    }
    if (this.#isSubvolumeNamedElsewhere(row, id)) {
      this.#secondSubvolumeName(key, row);
      return false;
    }
    this.#wrongBackpointer(key, row, true, this.#olderRoots(row, id));
    return true;
  }

  /** Other versions of the root of a subvolume, which have noted what this one has, or nothing. */
  #olderRoots(row: number, id: number): readonly number[] {
    const { rows } = this.#index;
    const { inum, subvolume, dir, dirOffset } = rows.columns;
    const [first, end] = rows.of(inum[row]!);
    return Array.from({ length: end - first }, (_, nr) => first + nr).filter(
      other =>
        other !== row &&
        subvolume[other] === id &&
        (dir[other] === 0n || (dir[other] === dir[row] && dirOffset[other] === dirOffset[row])),
    );
  }

  #secondSubvolumeName(key: Key, row: number): void {
    const { columns } = this.#index.rows;
    const facts = {
      inum: columns.inum[row]!,
      snapshot: columns.snapshot[row]!,
      dir: columns.dir[row]!,
      dirOffset: columns.dirOffset[row]!,
      expected: key.k.p.slice(),
    };
    const where = this.#place(key, 'inode_wrong_backpointer');
    const found = finding('inode_wrong_backpointer', where, facts);
    if (!this.#isToBeFixed(found, { after: 'the second name of the subvolume goes' })) return;
    this.#context.drop(DIRENTS, key, 'a second name of a subvolume');
    const copy = ownCopy(key);
    this.#repairs.add(() => this.#files.removeName(copy));
  }

  #isSubvolumeNamedElsewhere(row: number, id: number): boolean {
    const { columns } = this.#index.rows;
    const from = makeBpos(columns.dir[row]!, columns.dirOffset[row]!, 0);
    const to = makeBpos(columns.dir[row]!, columns.dirOffset[row]!, 0xffff_ffff);
    for (const other of this.#files.tx.btree('dirents').keys({ from, to, onDamage: reportedBefore })) {
      if (other.k.type !== DIRENT || this.#gone.has(nameId(other))) continue;
      const { target } = dirent.decode(other.value);
      if ('child_subvol' in target && target.child_subvol === id) return true;
    }
    return false;
  }

  #checkRootParent(key: Key, id: number, rootInode: bigint, snapshot: number, parent: number): void {
    const { rows, table } = this.#index;
    const row = rows.seenFrom(rootInode, snapshot, table);
    if (row === undefined || rows.columns.subvolume[row] !== id) return;
    const found = rows.columns.parentSubvolume[row]!;
    if (found === parent) return;
    const where = this.#place(key, 'inode_bi_parent_wrong');
    if (!this.#isToBeFixed(finding('inode_bi_parent_wrong', where, { found, expected: parent }))) return;
    const version = rows.columns.snapshot[row]!;
    this.#repairs.add(() =>
      this.#files.editInode(rootInode, version, inode => {
        inode.bi_parent_subvol = parent;
      }),
    );
  }

  /** When all names were seen: inodes that have noted one that is not there. */
  checkNames(): void {
    const { rows } = this.#index;
    const { columns } = rows;
    for (let row = 0; row < rows.count; row++) {
      const [dir, dirOffset] = [columns.dir[row]!, columns.dirOffset[row]!];
      if ((dir === 0n && dirOffset === 0n) || this.#isFound[row] !== 0) continue;
      const subvolume = columns.subvolume[row]!;
      if (subvolume !== 0 && this.#subvolumeNames.has(`${dir}:${dirOffset}:${subvolume}`)) continue;
      const [newDir, newOffset] = [this.#dirs[row]!, this.#offsets[row]!];
      const after = newDir === 0n ? 'no name' : `the name ${newDir}:${newOffset}`;
      const found = this.#noName(row, { dir, dirOffset });
      if (!this.#isToBeFixed(found, { pass: 'check_inodes', after })) continue;
      const [inum, snapshot] = [columns.inum[row]!, columns.snapshot[row]!];
      this.#repairs.add(() =>
        this.#files.editInode(inum, snapshot, inode => {
          inode.bi_dir = newDir;
          inode.bi_dir_offset = newOffset;
        }),
      );
    }
  }

  #isToBeFixed(found: Finding, proposal: Proposal = {}): boolean {
    return this.#context.reporter.found(found, proposal) === 'fix';
  }

  #place(key: Key, error: FaultName): Location {
    return placeOfKey(this.#context, this.#index, 'dirents', key.k.p, this.#context.reporter.countOf(error));
  }

  /** Nothing is where an inode has its name, or a name that leads elsewhere. */
  #noName(row: number, name: NamePlace): Finding {
    const { rows, table } = this.#index;
    const leadsTo = nameTargetAt(this.#files.tx.btree('dirents'), table, name, rows.columns.snapshot[row]!);
    const error = leadsTo === undefined ? 'inode_points_to_missing_dirent' : 'inode_points_to_wrong_dirent';
    const where = placeOf(this.#context, this.#index, row, this.#context.reporter.countOf(error));
    return leadsTo === undefined
      ? finding('inode_points_to_missing_dirent', where, name)
      : finding('inode_points_to_wrong_dirent', where, { ...name, leadsTo });
  }
}

const nameId = ({ k }: Key): string => k.p.join(':');
const ownCopy = ({ k, value }: Key): Key => ({ k: { ...k, p: k.p.slice() }, value: value.slice() });
