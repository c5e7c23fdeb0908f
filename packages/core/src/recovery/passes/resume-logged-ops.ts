// resume_logged_ops: what was begun and not finished before a crash is finished.
//
// Checks: there is nothing of it after a clean shutdown. Needs: files whose extents are sound. Raises: logged_op_but_clean. Memory: the list.
// Repair: a truncate takes away what lies past the new size; a range that is moved is moved on from where it had come to. After a crash the
// next mount would do the same, and nothing is said of it.
// Source: bch2_resume_logged_ops in logged_ops.c, __bchfs_truncate and __bch2_resume_logged_op_finsert in io_misc.c, v1.13.0.

import { makeKey } from '../../btree/transaction.ts';
import { atOffset, cutBack, cutFront, extentEnd, extentStart } from '../../data/extent-cut.ts';
import { deleteExtents, insertExtent } from '../../data/extent-insert.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposText } from '../../ondisk/bpos.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { loggedOpFinsert, loggedOpTruncate } from '../../ondisk/keys/logged-ops.ts';
import { finding } from '../../report/finding.ts';
import { visibleKeys } from '../../snapshots/visible.ts';
import { SECTOR_BYTES } from '../../util/sizes.ts';
import type { Pass } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { isWhiteout, keysOf, rangeOfInode, reportedBefore } from './inode-index.ts';
import { extentOf } from './owners.ts';
import { RepairQueue } from './repair-queue.ts';

const TRUNCATE = keyTypes.idOf('logged_op_truncate');
const FINSERT = keyTypes.idOf('logged_op_finsert');
/** A file has fewer sectors than 2^55. */
const SECTORS_END = 2 ** 52;
/** States of a range that is moved. */
const [START, SHIFT] = [0, 1];

export const resumeLoggedOps: Pass = {
  name: 'resume_logged_ops',
  needs: ['check_extents', 'check_nlinks'],
  run(context) {
    if (context.unreadable.has('extents') || context.unreadable.has('inodes')) return;
    const files = new FileRepairs(context);
    const repairs = new RepairQueue(context);
    for (const key of keysOf(context, 'logged_ops')) {
      if (key.k.type !== TRUNCATE && key.k.type !== FINSERT) continue;
      // The next mount does it: there is nothing to say of it.
      if (context.state.replay.from !== 'clean') continue;
      const where = { btree: 'logged_ops', pos: bposText(key.k.p) };
      const found = finding('logged_op_but_clean', where, { type: keyTypes.nameOf(key.k.type) });
      if (context.reporter.found(found, { after: 'it is finished' }) !== 'fix') continue;
      const copy: Key = { k: { ...key.k, p: key.k.p.slice() }, value: key.value.slice() };
      repairs.add(() => {
        if (copy.k.type === TRUNCATE) finishTruncate(files, copy);
        else finishMove(files, copy);
        files.tx.delete('logged_ops', copy.k.p);
      });
    }
    repairs.run();
  },
};

/** The file as its subvolume sees it; undefined when it is gone. */
function fileOf(files: FileRepairs, subvol: number, inum: bigint) {
  const snapshot = files.table.subvolume(subvol)?.snapshot;
  const own = snapshot === undefined ? undefined : files.inode(inum, snapshot);
  return snapshot === undefined || own === undefined ? undefined : { ...own, snapshot };
}

function finishTruncate(files: FileRepairs, { value }: Key): void {
  const { subvol, inum, new_i_size } = loggedOpTruncate.decode(value);
  const file = fileOf(files, subvol, inum);
  if (file === undefined) return;
  const blockBytes = files.tx.sb.block_size * SECTOR_BYTES;
  const start = Math.ceil(Number(new_i_size) / blockBytes) * (blockBytes / SECTOR_BYTES);
  if (start < SECTORS_END)
    deleteExtents(files.tx, files.table, { inum, snapshot: file.snapshot, start, end: SECTORS_END });
  const isShorter = new_i_size < file.inode.bi_size;
  setSize(files, inum, file.snapshot, isShorter ? new_i_size : file.inode.bi_size);
}

/** In the snapshot of the subvolume, whose own version it becomes. */
function setSize(files: FileRepairs, inum: bigint, snapshot: number, size: bigint): void {
  const own = files.inode(inum, snapshot);
  if (own === undefined) return;
  const bi_sectors = BigInt(extentOf(files, inum, snapshot).sectors);
  files.createInode(inum, snapshot, { ...own.inode, bi_size: size, bi_sectors });
}

/**
 * The extents from `src_offset` on go to `dst_offset`: upwards for a range that was inserted, from the last on, and downwards for one that
 * was taken out. `pos` is how far that had come.
 */
function finishMove(files: FileRepairs, { value }: Key): void {
  const { state, subvol, inum, dst_offset, src_offset, pos } = loggedOpFinsert.decode(value);
  const file = fileOf(files, subvol, inum);
  // Nothing was moved: it is as if it had not been asked for.
  if (file === undefined || state === START) return;
  const { snapshot } = file;
  const [to, from, reached] = [Number(dst_offset), Number(src_offset), Number(pos)];
  const shift = to - from;
  const isUp = shift > 0;
  if (state === SHIFT) {
    const range = { ...rangeOfInode(inum), onDamage: reportedBefore };
    const left = [...visibleKeys(files.tx.btree('extents'), files.table, snapshot, range)].filter(
      key => !isWhiteout(key) && (isUp ? extentEnd(key) > from && extentEnd(key) <= reached : extentEnd(key) > reached),
    );
    for (const key of isUp ? left.toReversed() : left) shiftExtent(files, key, snapshot, isUp ? from : 0, shift);
  }
  // A file becomes longer before its extents move, and shorter after it.
  const size = state === SHIFT && !isUp ? file.inode.bi_size + BigInt(shift * SECTOR_BYTES) : file.inode.bi_size;
  setSize(files, inum, snapshot, size > 0n ? size : 0n);
}

function shiftExtent(files: FileRepairs, key: Key, snapshot: number, from: number, shift: number): void {
  const first = Math.max(from, extentStart(key));
  const whole = cutFront(key, first - extentStart(key));
  const end = extentEnd(key);
  const moved = cutBack(whole, whole.k.size);
  const p = atOffset(moved.k.p, end + shift);
  p[0] = snapshot;
  const copy = makeKey(moved.k.type, p, moved.value.slice(), moved.k);
  deleteExtents(files.tx, files.table, { inum: inumOf(key), snapshot, start: first, end });
  insertExtent(files.tx, files.table, copy);
}

const inumOf = ({ k }: Key): bigint => (BigInt(k.p[4]!) << 32n) | BigInt(k.p[3]!);
