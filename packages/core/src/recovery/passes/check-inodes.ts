// check_inodes: what an inode says of itself, and the list of inodes that are to be deleted.
//
// Checks: versions of an inode in several snapshots hash names alike; flags of unlinked inodes, of inodes with versions in younger snapshots
// and of shutdowns that were not clean; roots of subvolumes are roots; nothing is of a journal entry that was not written. Needs: snapshots,
// subvolumes and their roots.
// Raises: inode_snapshot_mismatch, inode_has_child_snapshots_wrong, inode_dir_unlinked_but_not_empty, unlinked_inode_not_on_deleted_list,
// inode_bi_parent_nonzero, inode_bi_subvol_missing, inode_bi_subvol_wrong, inode_i_sectors_dirty_but_clean, inode_i_size_dirty_but_clean,
// inode_journal_seq_in_future. Memory: the inode index.
// Repair: the field is set; of two files in different trees with one number, one gets another (shared-numbers.ts); a directory that was unlinked with entries in it gets a name again (check_unreachable_inodes).
// Source: check_inode in fsck.c, v1.13.0.

import { makeKey } from '../../btree/transaction.ts';
import { HAS_CHILD_SNAPSHOT, type InodeRows, IS_DIRECTORY, IS_UNLINKED } from '../../check/inode-rows.ts';
import { inodeOfKey } from '../../fs/inode.ts';
import type { EditableInode } from '../../fs/inode-pack.ts';
import { bposOffset, bposText, makeBpos } from '../../ondisk/bpos.ts';
import { inodeFlags } from '../../ondisk/inode-tables.ts';
import type { Inode } from '../../ondisk/inode-unpack.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { type Finding, finding } from '../../report/finding.ts';
import { ROOT_SUBVOLUME } from '../../snapshots/snapshot-table.ts';
import type { Pass, PassContext } from '../pass.ts';
import { checkCaseFlags } from './case-flags.ts';
import { FileRepairs, UNLINKED } from './file-repairs.ts';
import { type InodeIndex, inodeIndex, keysOf, placeOf, reportedBefore } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';
import { SharedNumbers } from './shared-numbers.ts';

const SET = keyTypes.idOf('set');
const NO_VALUE = new Uint8Array(0);
const HAS_CHILD = 1 << inodeFlags.idOf('has_child_snapshot');
const DIRTY_FLAGS = [
  { bit: 1 << inodeFlags.idOf('i_size_dirty'), error: 'inode_i_size_dirty_but_clean' },
  { bit: 1 << inodeFlags.idOf('i_sectors_dirty'), error: 'inode_i_sectors_dirty_but_clean' },
] as const;

export const checkInodes: Pass = {
  name: 'check_inodes',
  needs: ['check_snapshots', 'check_root', 'check_subvols', 'delete_dead_snapshots'],
  run(context) {
    if (context.unreadable.has('inodes')) return;
    const index = inodeIndex(context);
    const inodes = new InodeCheck(context, index);
    inodes.checkFields();
    let first = 0;
    for (let row = 0; row < index.rows.count; row++) {
      if (index.rows.columns.inum[first] !== index.rows.columns.inum[row]) first = row;
      inodes.check(first, row);
    }
    inodes.repair();
    inodes.moveShared();
    checkCaseFlags(context, inodeIndex(context));
    listUnlinked(context);
  },
};

class InodeCheck {
  readonly #context: PassContext;
  readonly #index: InodeIndex;
  readonly #repairs: RepairQueue;
  readonly #files: FileRepairs;
  readonly #shared: SharedNumbers;

  constructor(context: PassContext, index: InodeIndex) {
    this.#context = context;
    this.#index = index;
    this.#repairs = new RepairQueue(context);
    this.#files = new FileRepairs(context);
    this.#shared = new SharedNumbers(index.table);
  }

  repair(): void {
    this.#repairs.run();
  }

  moveShared(): void {
    this.#shared.moveAll(this.#context);
  }

  /** What the index does not hold of each inode; all together may show that there is nothing to look for. */
  checkFields(): void {
    const isClean = this.#context.state.replay.from === 'clean';
    // What was repaired is of the entry that will commit it.
    const { journalSeq } = this.#context.change.triggers.time;
    const { rows } = this.#index;
    if (rows.journalSeq <= journalSeq && !(isClean && DIRTY_FLAGS.some(({ bit }) => (rows.flags & bit) !== 0))) return;
    for (const key of keysOf(this.#context, 'inodes')) {
      const inode = inodeOfKey(key, reportedBefore);
      if (inode === undefined) continue;
      const where = { btree: 'inodes', pos: bposText(key.k.p) };
      const [inum, snapshot] = [bposOffset(key.k.p), key.k.p[0]!];
      if (inode.bi_journal_seq > BigInt(journalSeq)) {
        const detail = `journal entry ${inode.bi_journal_seq}, expected at most ${journalSeq}`;
        // Writing the inode sets it.
        this.#offer(finding('inode_journal_seq_in_future', where, { detail }), inum, snapshot, () => undefined, true);
      }
      for (const { bit, error } of DIRTY_FLAGS) {
        if (!isClean || (inode.bi_flags & bit) === 0) continue;
        const found = finding(error, where, { detail: 'the flag is set after a clean shutdown' });
        this.#offer(found, inum, snapshot, edited => {
          edited.bi_flags &= ~bit;
        });
      }
    }
  }

  check(first: number, row: number): void {
    const { rows, table } = this.#index;
    const { columns } = rows;
    const where = () => placeOf(this.#context, this.#index, row);
    if (this.#checkNumber(first, row)) return;
    if (columns.seed[first] !== columns.seed[row] || columns.strHash[first] !== columns.strHash[row]) {
      const facts = { seed: columns.seed[row]!, type: rows.direntType(row) };
      const [seed, type] = [columns.seed[first]!, columns.strHash[first]!];
      this.#offerRow(finding('inode_snapshot_mismatch', where(), facts), row, inode => {
        inode.bi_hash_seed = seed;
        inode.str_hash = type;
      });
    }
    this.#checkFormerRoot(first, row);
    const hasChild = this.#hasChild(first, row);
    if (hasChild !== rows.has(row, HAS_CHILD_SNAPSHOT)) {
      const found = finding('inode_has_child_snapshots_wrong', where(), { found: !hasChild, expected: hasChild });
      this.#offerRow(found, row, inode => {
        inode.bi_flags = hasChild ? inode.bi_flags | HAS_CHILD : inode.bi_flags & ~HAS_CHILD;
      });
    }
    this.#checkUnlinked(row);
    const [id, parent] = [columns.subvolume[row]!, columns.parentSubvolume[row]!];
    if (parent !== 0 && (id === 0 || id === ROOT_SUBVOLUME)) {
      const found = finding('inode_bi_parent_nonzero', where(), { found: parent, expected: 0 });
      this.#offerRow(found, row, inode => {
        inode.bi_parent_subvol = 0;
      });
    }
    if (id === 0) return;
    const known = table.subvolume(id);
    const isRoot =
      known !== undefined &&
      known.rootInode === columns.inum[row] &&
      table.isAncestor(known.snapshot, columns.snapshot[row]!);
    if (isRoot || this.#context.unreadable.has('subvolumes')) return;
    const found =
      known === undefined
        ? finding('inode_bi_subvol_missing', where(), { subvolume: id })
        : finding('inode_bi_subvol_wrong', where(), {
            subvolume: id,
            root: known.rootInode,
            snapshot: known.snapshot,
          });
    const heir = this.#heirOf(row);
    this.#offerRow(found, row, inode => {
      inode.bi_subvol = heir?.bi_subvol ?? 0;
      inode.bi_parent_subvol = heir?.bi_parent_subvol ?? 0;
      if (heir === undefined) return;
      inode.bi_dir = heir.bi_dir;
      inode.bi_dir_offset = heir.bi_dir_offset;
    });
  }

  /** Versions in two trees are two files, and of one type. @returns whether one of them gets another number */
  #checkNumber(first: number, row: number): boolean {
    const { rows } = this.#index;
    const { inum, snapshot, subvolume } = rows.columns;
    const [mine, other] = [snapshot[row]!, snapshot[first]!];
    if (rows.direntType(row) === rows.direntType(first)) return false;
    if (this.#shared.treeOf(mine) === this.#shared.treeOf(other) || this.#isBlind) return false;
    const candidates = subvolume[row] === 0 ? [row, first] : [first, row];
    const moving = candidates.find(one => this.#shared.canMove(inum[one]!, snapshot[one]!));
    if (moving === undefined) return false;
    if (candidates.some(one => this.#shared.isMoving(inum[one]!, snapshot[one]!))) return true;
    const facts = { seed: rows.columns.seed[moving]!, type: rows.direntType(moving) };
    const found = finding('inode_snapshot_mismatch', placeOf(this.#context, this.#index, moving), facts);
    if (this.#context.reporter.found(found, { after: 'a number of its own' }) !== 'fix') return false;
    this.#shared.add(inum[moving]!, snapshot[moving]!);
    return true;
  }

  /** What names an inode cannot be read. */
  get #isBlind(): boolean {
    const { unreadable } = this.#context;
    return (['snapshots', 'subvolumes', 'dirents', 'extents', 'xattrs'] as const).some(name => unreadable.has(name));
  }

  /** Of the root of a subvolume every version is one. */
  #checkFormerRoot(first: number, row: number): void {
    const { rows } = this.#index;
    if (rows.direntType(row) === rows.direntType(first) || !rows.has(row, IS_DIRECTORY)) return;
    if (rows.columns.subvolume[row] !== 0 || this.#context.unreadable.has('subvolumes')) return;
    const heir = this.#heirOf(row);
    if (heir === undefined) return;
    const facts = { seed: rows.columns.seed[row]!, type: rows.direntType(row) };
    const found = finding('inode_snapshot_mismatch', placeOf(this.#context, this.#index, row), facts);
    this.#offerRow(found, row, inode => {
      inode.bi_subvol = heir.bi_subvol;
      inode.bi_parent_subvol = heir.bi_parent_subvol;
      inode.bi_dir = heir.bi_dir;
      inode.bi_dir_offset = heir.bi_dir_offset;
    });
  }

  /** An older version of the root of a subvolume that is gone belongs to one of the snapshots of it. */
  #heirOf(row: number): Inode | undefined {
    const { rows, table } = this.#index;
    const { inum, snapshot } = rows.columns;
    const heir = table
      .subvolumes()
      .find(one => one.rootInode === inum[row] && table.isAncestor(one.snapshot, snapshot[row]!));
    return heir === undefined ? undefined : this.#files.inode(heir.rootInode, heir.snapshot)?.inode;
  }

  #checkUnlinked(row: number): void {
    const { rows } = this.#index;
    const { inum, snapshot } = rows.columns;
    if (!rows.has(row, IS_UNLINKED) || !rows.has(row, IS_DIRECTORY)) return;
    if (this.#context.unreadable.has('dirents') || this.#files.isEmptyDirectory(inum[row]!, snapshot[row]!)) return;
    const detail = 'an unlinked directory with entries, expected an empty one';
    const where = placeOf(this.#context, this.#index, row);
    this.#offerRow(finding('inode_dir_unlinked_but_not_empty', where, { detail }), row, inode => {
      inode.bi_flags &= ~UNLINKED;
    });
  }

  #hasChild(first: number, row: number): boolean {
    const { snapshot } = this.#index.rows.columns;
    for (let other = first; other < row; other++) {
      if (this.#index.table.isAncestor(snapshot[other]!, snapshot[row]!)) return true;
    }
    return false;
  }

  #offerRow(found: Finding, row: number, edit: (inode: EditableInode) => void): void {
    const { inum, snapshot } = this.#index.rows.columns;
    this.#offer(found, inum[row]!, snapshot[row]!, edit);
  }

  #offer(found: Finding, inum: bigint, snapshot: number, edit: (inode: EditableInode) => void, safe?: boolean): void {
    if (this.#context.reporter.found(found, safe === undefined ? {} : { safe }) !== 'fix') return;
    this.#repairs.add(() => this.#files.editInode(inum, snapshot, edit));
  }
}

/** What is unlinked and has no younger version is to be deleted. */
function listUnlinked(context: PassContext): void {
  if (context.unreadable.has('deleted_inodes')) return;
  const index = inodeIndex(context);
  const { rows } = index;
  const repairs = new RepairQueue(context);
  for (let row = 0; row < rows.count; row++) {
    if (!isGoing(rows, row)) continue;
    const pos = makeBpos(0n, rows.columns.inum[row]!, rows.columns.snapshot[row]!);
    if (context.change.tx.get('deleted_inodes', pos)?.k.type === SET) continue;
    const found = finding('unlinked_inode_not_on_deleted_list', placeOf(context, index, row), {});
    if (context.reporter.found(found) !== 'fix') continue;
    repairs.add(() => context.change.tx.update('deleted_inodes', makeKey(SET, pos, NO_VALUE)));
  }
  repairs.run();
}

const isGoing = (rows: InodeRows, row: number): boolean =>
  rows.has(row, IS_UNLINKED) && !rows.has(row, HAS_CHILD_SNAPSHOT);
