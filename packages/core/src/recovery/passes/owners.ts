// What keys of files belong to: each extent, dirent and xattr to an inode that its snapshot sees, of a type that may have such keys. What has
// lost its inode gets it back, with what its keys say of it; what has one of the wrong type decides what it really is.
//
// Raises: bkey_in_missing_snapshot, key_in_missing_inode, key_in_wrong_inode_type. Memory: what is missing.

import type { EditableInode } from '../../fs/inode-pack.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposInode, bposOffset, makeBpos } from '../../ondisk/bpos.ts';
import { btrees } from '../../ondisk/btrees.ts';
import { FILE_TYPE_DIR, FILE_TYPE_LNK, FILE_TYPE_REG, FILE_TYPE_SUBVOL } from '../../ondisk/inode-tables.ts';
import { modeType } from '../../ondisk/inode-unpack.ts';
import { dirent } from '../../ondisk/keys/dirent.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { finding } from '../../report/finding.ts';
import { visibleKeyAt, visibleKeys } from '../../snapshots/visible.ts';
import { SECTOR_BYTES } from '../../util/sizes.ts';
import type { PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import {
  type InodeIndex,
  inodeIndex,
  isWhiteout,
  keysOf,
  placeOfKey,
  rangeOfInode,
  reportedBefore,
} from './inode-index.ts';
import { reconstructMet } from './reconstruct-snapshots.ts';
import { RepairQueue } from './repair-queue.ts';

/** What counts as sectors of a file: bkey_extent_is_allocation. */
export const ALLOCATED: readonly number[] = (
  ['extent', 'reservation', 'reflink_p', 'inline_data', 'error'] as const
).map(name => keyTypes.idOf(name));
const DIRENT = keyTypes.idOf('dirent');

const TYPES: { readonly [btree in OwnedBtree]: readonly number[] | undefined } = {
  extents: [FILE_TYPE_REG, FILE_TYPE_LNK],
  dirents: [FILE_TYPE_DIR],
  xattrs: undefined,
};

export type OwnedBtree = 'extents' | 'dirents' | 'xattrs';

interface Ownerless {
  readonly key: Key;
  /** The row that it belongs to, which is of the wrong type; undefined where there is none. */
  readonly row: number | undefined;
}

/** @returns the index, with the owners that were made */
export function checkOwners(context: PassContext, btree: OwnedBtree): InodeIndex {
  const index = inodeIndex(context);
  if (context.unreadable.has('inodes')) return index;
  const homeless = new Map<number, Key>();
  const repairs = new RepairQueue(context);
  const files = new FileRepairs(context);
  let last: Ownerless | undefined;
  for (const found of ownerless(context, btree, index, homeless)) {
    // One finding for all keys of an inode in a snapshot.
    const isNext = last !== undefined && isSameOwner(last.key, found.key) && last.row === found.row;
    last = found;
    if (isNext) continue;
    const { key, row } = found;
    const inum = bposInode(key.k.p);
    if (row === undefined) {
      const { reporter } = context;
      const where = placeOfKey(context, index, btree, key.k.p, reporter.countOf('key_in_missing_inode'));
      const proposal = { after: `the inode ${inum} is made anew` };
      if (reporter.found(finding('key_in_missing_inode', where, { inum }), proposal) === 'fix')
        repairs.add(() => recreate(files, btree, inum, key.k.p[0]!));
    } else repairType(context, { btree, index, repairs, files }, key, row);
  }
  repairs.run();
  reconstructMet(context, btree, [...homeless.values()]);
  return inodeIndex(context);
}

const isSameOwner = (a: Key, b: Key): boolean =>
  a.k.p[3] === b.k.p[3] && a.k.p[4] === b.k.p[4] && a.k.p[0] === b.k.p[0];

/** @param homeless gets a key of each snapshot that is not there: none of its keys is judged */
function* ownerless(
  context: PassContext,
  btree: OwnedBtree,
  { rows, table }: InodeIndex,
  homeless: Map<number, Key>,
): Generator<Ownerless> {
  const types = TYPES[btree];
  const { columns } = rows;
  const known = new Set(table.nodes().map(({ id }) => id));
  const areSnapshotsKnown = !context.unreadable.has('snapshots');
  for (const key of keysOf(context, btree)) {
    const id = key.k.p[0]!;
    if (areSnapshotsKnown && !known.has(id)) {
      if (!homeless.has(id)) homeless.set(id, { k: { ...key.k, p: key.k.p.slice() }, value: key.value.slice() });
      continue;
    }
    if (isWhiteout(key)) continue;
    const [first, end] = rows.of(bposInode(key.k.p));
    let row: number | undefined;
    for (let at = first; at < end && row === undefined; at++) {
      if (table.isAncestor(key.k.p[0]!, columns.snapshot[at]!)) row = at;
    }
    if (row === undefined) yield { key, row };
    else if (types !== undefined && !types.includes(modeType(columns.mode[row]!))) yield { key, row };
  }
}

/** Makes an inode of a number again, unless a version that was made before it is seen. */
export function recreate(files: FileRepairs, btree: OwnedBtree, inum: bigint, snapshot: number, type?: number): void {
  const home = homeOf(files, inum, snapshot);
  if (files.inode(inum, home) !== undefined) return;
  // A version in another snapshot knows what it is.
  const [other] = files.versions(inum);
  const known = other === undefined ? type : modeType(other.inode.bi_mode);
  const isDirectory = known === FILE_TYPE_DIR || (btree === 'dirents' && other === undefined);
  if (isDirectory) files.createInode(inum, home, { bi_mode: (FILE_TYPE_DIR << 12) | 0o700 });
  else {
    const { end, sectors } = extentOf(files, inum, home);
    const mode = known === FILE_TYPE_LNK ? (FILE_TYPE_LNK << 12) | 0o777 : (FILE_TYPE_REG << 12) | 0o600;
    const size = { bi_size: BigInt(end * SECTOR_BYTES), bi_sectors: BigInt(sectors) };
    files.createInode(inum, home, { bi_mode: mode, ...size });
  }
  makeVersions(files, inum);
}

/** Where a snapshot has keys of an inode it has a version of it. */
export function makeVersions(files: FileRepairs, inum: bigint): void {
  const snapshots = new Set<number>();
  for (const btree of ['extents', 'dirents', 'xattrs'] as const) {
    for (const key of files.tx.btree(btree).keys({ ...rangeOfInode(inum), onDamage: reportedBefore }))
      if (!isWhiteout(key)) snapshots.add(key.k.p[0]!);
  }
  // The oldest ones first: the others are made from them.
  for (const snapshot of [...snapshots].sort((a, b) => b - a)) {
    const seen = files.inode(inum, snapshot);
    if (seen === undefined || seen.keySnapshot === snapshot) continue;
    files.makeOwn(inum, seen, snapshot);
    if (modeType(seen.inode.bi_mode) === FILE_TYPE_DIR) continue;
    const { end, sectors } = extentOf(files, inum, snapshot);
    files.editInode(inum, snapshot, inode => {
      inode.bi_size = BigInt(end * SECTOR_BYTES);
      inode.bi_sectors = BigInt(sectors);
    });
  }
}

/** The snapshot that all of what is seen of an inode hangs below: the highest that one of its keys is in. */
export function homeOf(files: FileRepairs, inum: bigint, snapshot: number): number {
  let home = snapshot;
  for (const btree of ['extents', 'dirents', 'xattrs'] as const) {
    for (const { k } of files.tx.btree(btree).keys({ ...rangeOfInode(inum), onDamage: reportedBefore })) {
      if (k.p[0]! > home && files.table.isAncestor(snapshot, k.p[0]!)) home = k.p[0]!;
    }
  }
  return home;
}

/** Where the data of a file ends that a snapshot sees, and what it takes, in sectors. */
export function extentOf(
  files: FileRepairs,
  inum: bigint,
  snapshot: number,
): { readonly end: number; readonly sectors: number } {
  let end = 0;
  let sectors = 0;
  const range = { ...rangeOfInode(inum), onDamage: reportedBefore };
  for (const { k } of visibleKeys(files.tx.btree('extents'), files.table, snapshot, range)) {
    end = Math.max(end, Number(bposOffset(k.p)));
    if (ALLOCATED.includes(k.type)) sectors += k.size;
  }
  return { end, sectors };
}

interface TypeRepair {
  readonly btree: OwnedBtree;
  readonly index: InodeIndex;
  readonly repairs: RepairQueue;
  readonly files: FileRepairs;
}

function repairType(context: PassContext, { btree, index, repairs, files }: TypeRepair, key: Key, row: number): void {
  const { columns } = index.rows;
  const { reporter } = context;
  const [inum, snapshot] = [columns.inum[row]!, columns.snapshot[row]!];
  const where = placeOfKey(context, index, btree, key.k.p, reporter.countOf('key_in_wrong_inode_type'));
  const facts = { found: modeType(columns.mode[row]!), allowed: TYPES[btree] ?? [] };
  if (reporter.found(finding('key_in_wrong_inode_type', where, facts)) !== 'fix') return;
  repairs.add(() => {
    const type = typeByContents(files, btree, inum, snapshot);
    if (type === undefined) dropKeys(context, files, btree, inum, key.k.p[0]!);
    else files.editInode(inum, snapshot, inode => setType(files, inode, type, inum, snapshot));
  });
}

function setType(files: FileRepairs, inode: EditableInode, type: number, inum: bigint, snapshot: number): void {
  inode.bi_mode = (type << 12) | (inode.bi_mode & 0o7777);
  inode.bi_nlink = 0;
  if (type === FILE_TYPE_DIR) {
    inode.bi_size = 0n;
    inode.bi_sectors = 0n;
    return;
  }
  const { end, sectors } = extentOf(files, inum, snapshot);
  const size = BigInt(end * SECTOR_BYTES);
  // Where its last byte is in the last sector is not known, if the inode does not say it.
  if (inode.bi_size > size || inode.bi_size + BigInt(SECTOR_BYTES) * 8n < size) inode.bi_size = size;
  inode.bi_sectors = BigInt(sectors);
}

/** What an inode really is, by what it has and what its name says; undefined when the keys of this btree are what is wrong. */
function typeByContents(files: FileRepairs, btree: OwnedBtree, inum: bigint, snapshot: number): number | undefined {
  const named = namedType(files, inum, snapshot);
  const hasEntries = !files.isEmptyDirectory(inum, snapshot);
  const hasData = extentOf(files, inum, snapshot).end > 0;
  if (btree === 'extents') {
    if (!hasEntries) return named === FILE_TYPE_LNK ? FILE_TYPE_LNK : FILE_TYPE_REG;
    return undefined;
  }
  if (!hasData || named === FILE_TYPE_DIR || named === FILE_TYPE_SUBVOL) return FILE_TYPE_DIR;
  return undefined;
}

/** The type that the dirent says that an inode names. */
function namedType(files: FileRepairs, inum: bigint, snapshot: number): number | undefined {
  const own = files.inode(inum, snapshot);
  if (own === undefined || own.inode.bi_dir === 0n) return undefined;
  const pos = makeBpos(own.inode.bi_dir, own.inode.bi_dir_offset, snapshot);
  const options = { onDamage: reportedBefore };
  const key = visibleKeyAt(files.tx.btree('dirents'), files.table, snapshot, pos, options);
  return key?.k.type === DIRENT ? dirent.decode(key.value).type : undefined;
}

function dropKeys(context: PassContext, files: FileRepairs, btree: OwnedBtree, inum: bigint, snapshot: number): void {
  const id = btrees.idOf(btree);
  for (const key of [...files.tx.btree(btree).keys({ ...rangeOfInode(inum), onDamage: reportedBefore })]) {
    if (key.k.p[0] !== snapshot || isWhiteout(key)) continue;
    context.drop(id, key, 'its inode is of another type, and has what belongs to that');
    files.tx.delete(btree, key.k.p);
  }
}
