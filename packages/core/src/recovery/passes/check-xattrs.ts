// check_xattrs: extended attributes belong to an inode and are found by their names.
//
// Needs: check_inodes. Raises: key_in_missing_inode (owners.ts), hash_table_key_wrong_offset, hash_table_key_duplicate (name-hashes.ts).
// Memory: the inode index, and what is wrong.
// Repair: an inode that is missing is made again; an attribute goes where lookups find it. Of two of one name the one that lookups find
// stays, the other one goes by `user.fsck.dup.NAME` from then on.
// Source: check_xattr in fsck.c, v1.13.0.

import { makeKey } from '../../btree/transaction.ts';
import { hashFind, hashSet, isXattrOf } from '../../fs/hash-insert.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposInode } from '../../ondisk/bpos.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { xattr, xattrTypes } from '../../ondisk/keys/xattr.ts';
import { hideInDescendants } from '../../snapshots/whiteouts.ts';
import { compareBytes } from '../../util/byte-text.ts';
import type { Pass } from '../pass.ts';
import { FileRepairs, nameBytes } from './file-repairs.ts';
import { misplacedNames } from './name-hashes.ts';
import { checkOwners } from './owners.ts';
import { RepairQueue } from './repair-queue.ts';

const XATTR = keyTypes.idOf('xattr');
const USER = xattrTypes.idOf('user');
const NAME_MAX = 255;

export const checkXattrs: Pass = {
  name: 'check_xattrs',
  needs: ['check_inodes', 'check_dirents', 'delete_dead_snapshots'],
  run(context) {
    if (context.unreadable.has('xattrs')) return;
    const index = checkOwners(context, 'xattrs');
    const files = new FileRepairs(context);
    const repairs = new RepairQueue(context);
    for (const { key } of misplacedNames(context, 'xattrs', index)) repairs.add(() => moveXattr(files, key));
    repairs.run();
  },
};

function moveXattr(files: FileRepairs, key: Key): void {
  const { p } = key.k;
  const owner = files.inode(bposInode(p), p[0]!);
  if (owner === undefined) return;
  const { type, name, value } = xattr.decode(key.value);
  files.removeHashed(key, files.xattrTable.bind(files));
  const table = files.xattrTable(bposInode(p), p[0]!, owner.inode);
  const encoded = (asType: number, as: Uint8Array): Key => {
    const source = { type: asType, name: as, value, nameLength: as.length, valueLength: value.length, sizeU64s: 0 };
    return makeKey(XATTR, p, xattr.encode(source));
  };
  let moved = encoded(type, name);
  let isWanted = isXattrOf(type, name);
  for (let n = 0; ; n++) {
    const there = hashFind(files.tx, files.table, table, table.hashOf(moved), isWanted);
    if (there === undefined) break;
    // The same twice is once.
    if (compareBytes(xattr.decode(there.value).value, value) === 0) return;
    const other = new Uint8Array([...nameBytes(`fsck.dup.${n === 0 ? '' : `${n}.`}`), ...name]).subarray(0, NAME_MAX);
    moved = encoded(USER, other);
    isWanted = isXattrOf(USER, other);
  }
  const { pos } = hashSet(files.tx, files.table, table, table.hashOf(moved), () => false, moved.value);
  hideInDescendants(files.tx, 'xattrs', files.table, p, pos);
}
