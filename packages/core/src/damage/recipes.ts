// Recipes of damage by name, for tests of what reads and repairs: each damages one thing of one kind, and what is hit of several is up to the
// target's random numbers, so that a seed makes it the same again. A recipe either damages or throws; it has no other outcome.

import { deletedKey, makeKey } from '../btree/transaction.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposInode, bposOffset, bposSnapshot, bposText, compareBpos, makeBpos } from '../ondisk/bpos.ts';
import { Bset } from '../ondisk/bset.ts';
import { BtreeNodeHeader, NODE_BSET_AT, NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { UsageError } from '../ondisk/errors.ts';
import { compatFeatures } from '../ondisk/features.ts';
import { FILE_TYPE_DIR, FILE_TYPE_REG, FILE_TYPE_SUBVOL } from '../ondisk/inode-tables.ts';
import { modeType } from '../ondisk/inode-unpack.ts';
import { Jset } from '../ondisk/jset.ts';
import { JsetEntryHeader } from '../ondisk/jset-entries.ts';
import { accountingPos } from '../ondisk/keys/accounting.ts';
import { keyField, setKeyField, withValue } from '../ondisk/keys/key-fields.ts';
import { type KeyTypeName, keyTypes } from '../ondisk/keys/key-types.ts';
import { BchSb, withSection, withSections } from '../ondisk/superblock.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { editEntry, journalEntries, newestEntry, spoilEntry } from './journal-damage.ts';
import { damageNode, editNodeHead, type NodeDamageKind, type NodeRef, nodesOfLevel, nodeText } from './node-damage.ts';
import { editSuperblocks, spoilCopies } from './superblock-damage.ts';
import { type DamageTarget, readableKeys } from './target.ts';

export interface DamageRecipe {
  readonly name: string;
  readonly area: string;
  /** What is wrong afterwards. */
  readonly does: string;
  /**
   * Damages. @returns what was hit
   * @throws UsageError where the filesystem has nothing that could be damaged like this, and whatever stops the damage
   */
  run(target: DamageTarget): string;
}

const ROOT_INUM = 4096n;
const [FIRST_SNAPSHOT, ROOT_SUBVOL] = [0xffff_ffff, 1n];

const isType =
  (...names: readonly KeyTypeName[]) =>
  ({ k }: Key): boolean =>
    names.some(name => keyTypes.idOf(name) === k.type);

/** The field as a number. @throws UsageError for fields that hold something else */
function numberField(key: Key, path: string): bigint {
  const value = keyField(key, path);
  if (typeof value === 'bigint') return value;
  throw new UsageError(`${path} is not a number`);
}

const set = (key: Key, fields: Readonly<Record<string, string | number | bigint>>): Key =>
  Object.entries(fields).reduce((changed, [path, value]) => setKeyField(changed, path, `${value}`), key);

const at = (key: Key, inode: bigint, offset: bigint, snapshot = bposSnapshot(key.k.p)): Key => ({
  ...key,
  k: { ...key.k, p: makeBpos(BigInt.asUintN(64, inode), BigInt.asUintN(64, offset), snapshot) },
});
const shifted = (key: Key, by: bigint): Key => at(key, bposInode(key.k.p), bposOffset(key.k.p) + by);

const keyPlace = (btree: BtreeName, { k }: Key): string => `${btree} ${bposText(k.p)}`;

/** What is put in the place of a key: undefined takes it away; one at another position moves it. */
type KeyEdit = (key: Key, target: DamageTarget) => Key | undefined;

/** Stores an altered key below the triggers. */
function storeKey(target: DamageTarget, btree: BtreeName, key: Key, after: Key | undefined): string {
  target.commit(tx => {
    if (after === undefined || compareBpos(after.k.p, key.k.p) !== 0) tx.store(btree, deletedKey(key.k.p));
    if (after !== undefined) tx.store(btree, after);
  });
  const to = after === undefined ? 'is gone' : `is now ${keyPlace(btree, after)}`;
  return `${keyPlace(btree, key)}${after !== undefined && compareBpos(after.k.p, key.k.p) === 0 ? '' : ` ${to}`}`;
}

interface KeyRecipe {
  readonly name: string;
  readonly area: string;
  readonly does: string;
  readonly btree: BtreeName;
  readonly where?: (key: Key, target: DamageTarget) => boolean;
  readonly edit: KeyEdit;
}

/** Alters one key. */
const ofKey = ({ name, area, does, btree, where, edit }: KeyRecipe): DamageRecipe => ({
  name,
  area,
  does,
  run(target) {
    const key = target.pickKey(btree, `key of ${btree}`, where && (one => where(one, target)));
    return storeKey(target, btree, key, edit(key, target));
  },
});

/** Takes keys away: some, or all of them. */
const withoutKeys = (
  name: string,
  area: string,
  does: string,
  btree: BtreeName,
  most: number,
  where: (key: Key, target: DamageTarget) => boolean = () => true,
): DamageRecipe => ({
  name,
  area,
  does,
  run(target) {
    const keys = [...readableKeys(target.filesystem(), btree, key => where(key, target))];
    const start = most < keys.length ? target.below(keys.length - most + 1) : 0;
    const gone = keys.slice(start, start + most);
    if (gone.length === 0) throw new UsageError(`there is no such key of ${btree}`, undefined, 'nothing_to_damage');
    target.commit(tx => {
      for (const { k } of gone) tx.store(btree, deletedKey(k.p));
    });
    return `${gone.length} keys from ${keyPlace(btree, gone[0]!)} on`;
  },
});

// Nodes

const NODES = 'btree nodes';

/** A leaf, an interior node or the root of a btree. */
function pickNode(target: DamageTarget, btree: BtreeName, which: 'leaf' | 'interior' | 'root'): NodeRef {
  const filesystem = target.filesystem();
  const { root } = filesystem.btree(btree);
  const what = `${which === 'root' ? 'root' : `${which} node`} of ${btree}`;
  if (root === undefined || (which === 'interior' && root.level === 0)) return target.pick<NodeRef>([], what);
  const level = which === 'leaf' ? 0 : which === 'interior' ? 1 + target.below(root.level) : root.level;
  return target.pick(nodesOfLevel(filesystem, btree, level), what);
}

const ofNode = (
  name: string,
  does: string,
  btree: BtreeName,
  which: 'leaf' | 'interior' | 'root',
  kind: NodeDamageKind,
): DamageRecipe => ({
  name,
  area: NODES,
  does,
  run(target) {
    const node = pickNode(target, btree, which);
    return nodeText(node, damageNode(target.filesystem(), node, kind));
  },
});

const rootZero = (btree: BtreeName): DamageRecipe =>
  ofNode(`root-zero-${btree}`, `the root of ${btree} is zeroes`, btree, 'root', 'zero');
const leafZero = (btree: BtreeName): DamageRecipe =>
  ofNode(`leaf-zero-${btree}`, `a leaf of ${btree} is zeroes`, btree, 'leaf', 'zero');

/** A leaf's header says something else, under a checksum that is right. */
const ofHead = (
  name: string,
  does: string,
  btree: BtreeName,
  edit: (view: DataView, target: DamageTarget) => void,
): DamageRecipe => ({
  name,
  area: NODES,
  does,
  run(target) {
    const node = pickNode(target, btree, 'leaf');
    return nodeText(
      node,
      editNodeHead(target.filesystem(), node, view => edit(view, target)),
    );
  },
});

const bsetAt = (member: keyof typeof Bset.offset): number => NODE_BSET_AT + Bset.offset[member];

const nodeRecipes: readonly DamageRecipe[] = [
  leafZero('extents'),
  leafZero('inodes'),
  leafZero('dirents'),
  leafZero('backpointers'),
  ofNode(
    'leaf-csum-dirents',
    'a leaf of dirents has a wrong checksum and is otherwise sound',
    'dirents',
    'leaf',
    'csum',
  ),
  ofNode('leaf-bitflip-key', 'a byte of a key in a leaf of extents is flipped', 'extents', 'leaf', 'keys'),
  ofNode('interior-zero-extents', 'an interior node of extents is zeroes', 'extents', 'interior', 'zero'),
  ...(['inodes', 'dirents', 'xattrs', 'subvolumes', 'snapshots', 'snapshot_trees', 'alloc'] as const).map(rootZero),
  ...(['backpointers', 'lru', 'freespace', 'accounting', 'subvolume_children'] as const).map(rootZero),
  {
    name: 'replica-one-zero',
    area: NODES,
    does: 'one copy of a leaf of extents is zeroes, the others are sound',
    run(target) {
      const node = pickNode(target, 'extents', 'leaf');
      const filesystem = target.filesystem();
      const copies = filesystem.set.members.filter(({ sb }) => hasCopyOn(node, sb.dev_idx));
      if (copies.length < 2) throw new UsageError('the node has one copy only', undefined, 'nothing_to_damage');
      const { sb } = target.pick(copies, 'copy of the node');
      return nodeText(node, damageNode(filesystem, node, 'zero', sb.dev_idx));
    },
  },
  ofHead('node-bad-seq', 'a leaf of dirents has another sequence number than its pointer says', 'dirents', view => {
    view.setUint8(bsetAt('seq'), view.getUint8(bsetAt('seq')) ^ 0xff);
  }),
  ofHead('node-bad-level', 'a leaf of inodes says that it is at level 1', 'inodes', view => {
    view.setUint8(BtreeNodeHeader.offset.flags, view.getUint8(BtreeNodeHeader.offset.flags) ^ 0x10);
  }),
  ofHead('node-bad-max', 'a leaf of inodes ends elsewhere than its pointer says', 'inodes', view => {
    const offset = BtreeNodeHeader.offset.max_key + 4;
    view.setUint32(offset, view.getUint32(offset, true) ^ 0x40, true);
  }),
  ofHead('node-future-major', 'a leaf of dirents has a major version of the future', 'dirents', view => {
    view.setUint16(bsetAt('version'), 9 << 10, true);
  }),
  ofHead('bset-past-end', 'the bset of a leaf of extents is longer than the node', 'extents', view => {
    view.setUint16(bsetAt('u64s'), 0xffff, true);
  }),
  ofHead('bset-key-past-end', 'the first key of a leaf of dirents is longer than its bset', 'dirents', view => {
    const u64s = view.getUint16(bsetAt('u64s'), true);
    if (u64s === 0) throw new UsageError('the leaf has no key', undefined, 'nothing_to_damage');
    view.setUint8(NODE_KEYS_AT, 0xff);
    view.setUint16(bsetAt('u64s'), Math.min(u64s, 0xfe), true);
  }),
];

const hasCopyOn = ({ ptr }: NodeRef, dev: number): boolean => {
  for (let i = 0; i < ptr.value.length; i++) {
    let other: bigint;
    try {
      other = numberField(ptr, `ptr[${i}].dev`);
    } catch (thrown) {
      if (thrown instanceof UsageError) return false; // There are no more pointers.
      throw thrown;
    }
    if (other === BigInt(dev)) return true;
  }
  return false;
};

// Keys of which buckets hold what

const isBucketOf = (type: string) => (key: Key) =>
  isType('alloc_v4')(key) && numberField(key, 'data_type') === BigInt(dataTypes.byName(type)!.id);

/** Counters of the copies of user data. */
const isUserCounter = (key: Key, target: DamageTarget): boolean => {
  const counted = accountingPos(key.k.p, target.filesystem().sb);
  return counted.type === 'replicas' && counted.entry.data_type === dataTypes.idOf('user');
};

const NO_DEVICE = 9n;

const allocRecipes: readonly DamageRecipe[] = [
  ofKey({
    name: 'alloc-data-type',
    area: 'alloc',
    does: 'the bucket of user data says that it is a btree node',
    btree: 'alloc',
    where: isBucketOf('user'),
    edit: key => set(key, { data_type: 'btree' }),
  }),
  ofKey({
    name: 'alloc-gen',
    area: 'alloc',
    does: 'a bucket of user data has a newer generation than the pointers into it',
    btree: 'alloc',
    where: isBucketOf('user'),
    edit: key => set(key, { gen: (numberField(key, 'gen') + 1n) & 0xffn }),
  }),
  ofKey({
    name: 'alloc-dirty-sectors',
    area: 'alloc',
    does: 'a bucket of user data counts other sectors than it holds',
    btree: 'alloc',
    where: isBucketOf('user'),
    edit: key => set(key, { dirty_sectors: numberField(key, 'dirty_sectors') ^ 8n }),
  }),
  ofKey({
    name: 'alloc-cached-sectors',
    area: 'alloc',
    does: 'a bucket counts cached sectors where there are none',
    btree: 'alloc',
    where: isBucketOf('user'),
    edit: key => set(key, { cached_sectors: numberField(key, 'cached_sectors') + 8n }),
  }),
  withoutKeys('alloc-key-missing', 'alloc', 'a bucket of user data has no alloc key', 'alloc', 1, isBucketOf('user')),
  {
    name: 'alloc-key-past-device',
    area: 'alloc',
    does: 'an alloc key for a bucket after the last one',
    run(target) {
      const key = target.pickKey('alloc', 'bucket of user data', isBucketOf('user'));
      const copy = shifted(key, 1n << 32n);
      target.commit(tx => tx.store('alloc', copy));
      return keyPlace('alloc', copy);
    },
  },
  withoutKeys('freespace-missing', 'alloc', 'a range of free buckets is not in freespace', 'freespace', 1),
  ofKey({
    name: 'freespace-no-device',
    area: 'alloc',
    does: 'freespace names buckets of a device that is not there',
    btree: 'freespace',
    edit: key => at(key, NO_DEVICE, bposOffset(key.k.p)),
  }),
  ofKey({
    name: 'bucket-gens-short',
    area: 'alloc',
    does: 'a bucket_gens key of 8 bytes',
    btree: 'bucket_gens',
    edit: key => withValue(key, key.value.slice(0, 8)),
  }),
  withoutKeys('lru-missing', 'alloc', 'entries of an lru are missing', 'lru', 2),
  withoutKeys('bp-missing', 'backpointers', 'three backpointers are missing', 'backpointers', 3),
  withoutKeys('bp-all-missing', 'backpointers', 'the btree of backpointers is empty', 'backpointers', Infinity),
  ofKey({
    name: 'bp-wrong-pos',
    area: 'backpointers',
    does: 'a backpointer names another key than the one that points there',
    btree: 'backpointers',
    edit: key => set(key, { 'pos.offset': numberField(key, 'pos.offset') ^ 0x1000n }),
  }),
  ofKey({
    name: 'bp-no-device',
    area: 'backpointers',
    does: 'a backpointer of a device that is not there',
    btree: 'backpointers',
    edit: key => at(key, NO_DEVICE, bposOffset(key.k.p)),
  }),
  withoutKeys('acct-missing', 'accounting', 'a counter of user data is missing', 'accounting', 1, isUserCounter),
  ofKey({
    name: 'acct-negative',
    area: 'accounting',
    does: 'a counter is negative',
    btree: 'accounting',
    where: isUserCounter,
    edit: key => set(key, { 'counters[0]': -8 }),
  }),
  ofKey({
    name: 'acct-version-0',
    area: 'accounting',
    does: 'a counter has version 0',
    btree: 'accounting',
    where: isUserCounter,
    edit: key => set(key, { 'k.version.lo': 0, 'k.version.hi': 0 }),
  }),
];

// Snapshots and subvolumes

const isChild = (key: Key) => isType('snapshot')(key) && numberField(key, 'parent') !== 0n;
const isSubvolume = isType('subvolume');
const NOT_THERE = 4711;

const snapshotRecipes: readonly DamageRecipe[] = [
  withoutKeys('snap-tree-missing', 'snapshots', 'a snapshot tree is missing', 'snapshot_trees', 1),
  ofKey({
    name: 'snap-tree-inner-root',
    area: 'snapshots',
    does: 'a snapshot tree names a root that is not there',
    btree: 'snapshot_trees',
    edit: key => set(key, { root_snapshot: NOT_THERE }),
  }),
  withoutKeys(
    'snap-root-node-missing',
    'snapshots',
    'the node of the root subvolume is missing',
    'snapshots',
    1,
    ({ k }) => bposOffset(k.p) === BigInt(FIRST_SNAPSHOT),
  ),
  ofKey({
    name: 'snap-parent-zero',
    area: 'snapshots',
    does: 'a node of a snapshot tree says that it is a root',
    btree: 'snapshots',
    where: isChild,
    edit: key => set(key, { parent: 0 }),
  }),
  ofKey({
    name: 'snap-child-bogus',
    area: 'snapshots',
    does: 'a leaf has a child that does not exist',
    btree: 'snapshots',
    where: key => isType('snapshot')(key) && numberField(key, 'children[0]') === 0n,
    edit: key => set(key, { 'children[0]': NOT_THERE }),
  }),
  ofKey({
    name: 'snap-subvol-missing',
    area: 'snapshots',
    does: 'a leaf names a subvolume that does not exist',
    btree: 'snapshots',
    where: key => isType('snapshot')(key) && numberField(key, 'subvol') !== 0n,
    edit: key => set(key, { subvol: NOT_THERE }),
  }),
  ofKey({
    name: 'snap-will-delete',
    area: 'snapshots',
    does: 'a leaf with a subvolume and keys is marked to be deleted',
    btree: 'snapshots',
    where: key => isType('snapshot')(key) && numberField(key, 'subvol') !== 0n,
    edit: key => set(key, { 'flags.will_delete': 1, 'flags.subvol': 0 }),
  }),
  withoutKeys(
    'subvol-root-missing',
    'subvolumes',
    'the root subvolume is missing',
    'subvolumes',
    1,
    ({ k }) => bposOffset(k.p) === ROOT_SUBVOL,
  ),
  ofKey({
    name: 'subvol-inode-missing',
    area: 'subvolumes',
    does: 'the root directory of a subvolume is missing',
    btree: 'inodes',
    where: key => isInode(key) && isSubvolumeRoot(key) && bposOffset(key.k.p) !== ROOT_INUM,
    edit: () => undefined,
  }),
  ofKey({
    name: 'subvol-snapshot-missing',
    area: 'subvolumes',
    does: 'a subvolume is in a snapshot that does not exist',
    btree: 'subvolumes',
    where: key => isSubvolume(key) && bposOffset(key.k.p) !== ROOT_SUBVOL,
    edit: key => set(key, { snapshot: NOT_THERE }),
  }),
  ofKey({
    name: 'subvol-fs-parent',
    area: 'subvolumes',
    does: 'a subvolume says that it is in another parent than it is',
    btree: 'subvolumes',
    where: key => isSubvolume(key) && bposOffset(key.k.p) !== ROOT_SUBVOL,
    edit: key => set(key, { fs_path_parent: NOT_THERE }),
  }),
  withoutKeys(
    'subvol-children-missing',
    'subvolumes',
    'a subvolume is missing in subvolume_children',
    'subvolume_children',
    1,
  ),
];

// Files

const isInode = isType('inode_v3', 'inode_v2', 'inode');
const modeOf = (key: Key): number => Number(numberField(key, 'bi_mode'));
const isInodeOf = (type: number) => (key: Key) =>
  isInode(key) && modeType(modeOf(key)) === type && bposOffset(key.k.p) !== ROOT_INUM && !isSubvolumeRoot(key);
const isSubvolumeRoot = (key: Key): boolean => numberField(key, 'bi_subvol') !== 0n;
const isFile = isInodeOf(FILE_TYPE_REG);
const isDirectory = isInodeOf(FILE_TYPE_DIR);

/** A number above that of every inode. */
function unusedInum(target: DamageTarget): bigint {
  let most = ROOT_INUM;
  for (const { k } of readableKeys(target.filesystem(), 'inodes')) if (bposOffset(k.p) > most) most = bposOffset(k.p);
  return most + 1000n;
}

const fileRecipe = (name: string, does: string, edit: KeyEdit, where = isFile): DamageRecipe =>
  ofKey({ name, area: 'inodes', does, btree: 'inodes', where, edit });

const inodeRecipes: readonly DamageRecipe[] = [
  fileRecipe('inode-missing', 'the inode of a file is missing; its dirent and extents are there', () => undefined),
  fileRecipe(
    'inode-missing-root',
    'the inode of the root directory is missing',
    () => undefined,
    ({ k }) => bposOffset(k.p) === ROOT_INUM,
  ),
  fileRecipe('inode-unpack', 'the fields of an inode are cut off', key => withValue(key, key.value.slice(0, 48))),
  fileRecipe(
    'inode-hash-type',
    'a directory has a hash type that does not exist',
    key => set(key, { str_hash: 9 }),
    isDirectory,
  ),
  fileRecipe('inode-file-is-dir', 'the mode of a file says directory', key =>
    set(key, { bi_mode: (modeOf(key) & 0xfff) | (FILE_TYPE_DIR << 12) }),
  ),
  fileRecipe('inode-nlink-high', 'a file counts more names than it has', key =>
    set(key, { bi_nlink: numberField(key, 'bi_nlink') + 3n }),
  ),
  fileRecipe(
    'inode-dir-nlink',
    'a directory counts subdirectories that it does not have',
    key => set(key, { bi_nlink: numberField(key, 'bi_nlink') + 2n }),
    isDirectory,
  ),
  fileRecipe('inode-size-long', 'the size of a file is far beyond its extents', key =>
    set(key, { bi_size: 2n ** 40n }),
  ),
  fileRecipe('inode-sectors', 'a file counts other sectors than it has', key =>
    set(key, { bi_sectors: numberField(key, 'bi_sectors') + 8n }),
  ),
  fileRecipe('inode-bp-missing', 'a file has no backpointer', key => set(key, { bi_dir: 0, bi_dir_offset: 0 })),
  fileRecipe('inode-unlinked-but-named', 'a file with a name says that it is unlinked', key =>
    set(key, { 'bi_flags.unlinked': 1, bi_nlink: 0 }),
  ),
  fileRecipe('inode-has-child', 'the has_child_snapshot flag says the opposite', key =>
    set(key, { has_child_snapshot: 1n - numberField(key, 'has_child_snapshot') }),
  ),
  fileRecipe('inode-subvol-file', 'a plain file says that it is the root of a subvolume', key =>
    set(key, { bi_subvol: NOT_THERE }),
  ),
  fileRecipe('inode-journal-seq', 'an inode waits for a journal entry of the far future', key =>
    set(key, { bi_journal_seq: 2n ** 40n }),
  ),
  ofKey({
    name: 'inode-pos-bad',
    area: 'inodes',
    does: 'an inode at a position where there are none',
    btree: 'inodes',
    where: isFile,
    edit: key => at(key, 7n, bposOffset(key.k.p)),
  }),
];

const isFileDirent = (key: Key) => isType('dirent')(key) && numberField(key, 'd_type') === BigInt(FILE_TYPE_REG);
const isPlainDirent = (key: Key) => isType('dirent')(key) && numberField(key, 'd_type') !== BigInt(FILE_TYPE_SUBVOL);

const direntRecipe = (name: string, does: string, edit: KeyEdit, where = isFileDirent): DamageRecipe =>
  ofKey({ name, area: 'dirents', does, btree: 'dirents', where, edit });

const direntRecipes: readonly DamageRecipe[] = [
  direntRecipe('dirent-missing-inode', 'a dirent leads to an inode that does not exist', (key, target) =>
    set(key, { d_inum: unusedInum(target) }),
  ),
  direntRecipe('dirent-hash', "a dirent is not where its name's hash says", key => shifted(key, 0x1234_5678n)),
  direntRecipe('dirent-type', 'a dirent of a file says that it leads to a directory', key =>
    set(key, { d_type: 'dir' }),
  ),
  direntRecipe('dirent-gone', 'no dirent leads to a file or directory any more', () => undefined, isPlainDirent),
  direntRecipe('dirent-in-missing-dir', 'a dirent is in a directory that does not exist', (key, target) =>
    at(key, unusedInum(target), bposOffset(key.k.p)),
  ),
  {
    name: 'dirent-duplicate',
    area: 'dirents',
    does: 'a directory has the same name twice, for two files',
    run(target) {
      const one = target.pickKey('dirents', 'dirent of a file', isFileDirent);
      const other = target.pickKey(
        'dirents',
        `other dirent of a file in directory ${bposInode(one.k.p)}`,
        key =>
          isFileDirent(key) &&
          bposInode(key.k.p) === bposInode(one.k.p) &&
          bposSnapshot(key.k.p) === bposSnapshot(one.k.p) &&
          compareBpos(key.k.p, one.k.p) !== 0,
      );
      const twin = set(other, { d_name: `${keyField(one, 'd_name')}` });
      return storeKey(target, 'dirents', other, at(twin, bposInode(one.k.p), bposOffset(one.k.p) + 1n));
    },
  },
  withoutKeys(
    'dirent-lost-names',
    'dirents',
    'all dirents of the root directory are gone',
    'dirents',
    Infinity,
    ({ k }) => bposInode(k.p) === ROOT_INUM,
  ),
  ofKey({
    name: 'xattr-hash',
    area: 'xattrs',
    does: "an xattr is not where its name's hash says",
    btree: 'xattrs',
    where: isType('xattr'),
    edit: key => shifted(key, 0x1234_5678n),
  }),
  ofKey({
    name: 'xattr-type',
    area: 'xattrs',
    does: 'an xattr of type 9',
    btree: 'xattrs',
    where: isType('xattr'),
    edit: key => set(key, { x_type: 9 }),
  }),
  ofKey({
    name: 'xattr-name-nul',
    area: 'xattrs',
    does: 'an xattr with a NUL in its name',
    btree: 'xattrs',
    where: isType('xattr'),
    edit: key => set(key, { x_name: 'a\\x00b' }),
  }),
];

// Data

const isExtent = isType('extent');
const CRCS = ['crc32', 'crc64', 'crc128'] as const;

/** The type of the first checksum entry. */
const crcOf = (key: Key): string | undefined => CRCS.find(type => hasField(key, `${type}.csum_type`));

function hasField(key: Key, path: string): boolean {
  try {
    keyField(key, path);
    return true;
  } catch (thrown) {
    if (thrown instanceof UsageError) return false;
    throw thrown;
  }
}

const extentRecipe = (name: string, does: string, edit: KeyEdit, where: (key: Key) => boolean = isExtent) =>
  ofKey({ name, area: 'extents', does, btree: 'extents', where, edit });

const extentRecipes: readonly DamageRecipe[] = [
  fileRecipe(
    'extent-past-size',
    'a file has extents after its end',
    key => set(key, { bi_size: 0 }),
    key => isFile(key) && numberField(key, 'bi_sectors') > 0n,
  ),
  extentRecipe('extent-no-inode', 'an extent of an inode that does not exist', (key, target) =>
    at(key, unusedInum(target), bposOffset(key.k.p)),
  ),
  extentRecipe('extent-no-device-one', 'a pointer of an extent is to a device that is not there', key =>
    set(key, { 'ptr.dev': NO_DEVICE }),
  ),
  extentRecipe('extent-stale', 'a pointer is older than its bucket', key =>
    set(key, { 'ptr.gen': (numberField(key, 'ptr.gen') + 0xffn) & 0xffn }),
  ),
  extentRecipe('extent-no-ptrs', 'an extent has no pointer', key => withValue(key, new Uint8Array(0))),
  extentRecipe(
    'extent-crc-types',
    'an extent with a checksum type that does not exist',
    key => set(key, { [`${crcOf(key)}.csum_type`]: 14 }),
    key => isExtent(key) && crcOf(key) !== undefined,
  ),
  extentRecipe('extent-entry-unknown', 'an extent has an entry of an unknown type', key => {
    const value = new Uint8Array(key.value.length + 8);
    value.set(key.value);
    value[key.value.length + 3] = 0x80;
    return withValue(key, value);
  }),
  extentRecipe('extent-in-sb-bucket', 'an extent points into the superblock', key => set(key, { 'ptr.offset': 8 })),
  extentRecipe('extent-size-big', 'an extent is larger than its end', key =>
    set(key, { 'k.size': bposOffset(key.k.p) + 8n }),
  ),
  extentRecipe('extent-unwritten', 'an extent with data says that it was never written', key =>
    set(key, { 'ptr.unwritten': 1 }),
  ),
  ofKey({
    name: 'reflink-refcount-high',
    area: 'reflink',
    does: 'an indirect extent counts more references than there are',
    btree: 'reflink',
    where: isType('reflink_v'),
    edit: key => set(key, { refcount: numberField(key, 'refcount') + 5n }),
  }),
  ofKey({
    name: 'reflink-refcount-0',
    area: 'reflink',
    does: 'an indirect extent counts no references',
    btree: 'reflink',
    where: isType('reflink_v'),
    edit: key => set(key, { refcount: 0 }),
  }),
  withoutKeys('reflink-missing', 'reflink', 'an indirect extent is missing', 'reflink', 1, isType('reflink_v')),
  {
    name: 'quota-type',
    area: 'quotas',
    does: 'a quota of type 5',
    run(target) {
      const quota = makeKey(keyTypes.idOf('quota'), makeBpos(5n, 0n, 0), new Uint8Array(32));
      target.commit(tx => tx.store('quotas', quota));
      return keyPlace('quotas', quota);
    },
  },
  {
    name: 'logged-truncate',
    area: 'logged ops',
    does: 'a truncate is pending in a clean filesystem',
    run(target) {
      const file = target.pickKey('inodes', 'file', isFile);
      const empty = makeKey(keyTypes.idOf('logged_op_truncate'), makeBpos(0n, 1n, 0), new Uint8Array(24));
      const op = set(empty, { subvol: 1, inum: bposOffset(file.k.p), new_i_size: 1 });
      target.commit(tx => tx.store('logged_ops', op));
      return keyPlace('logged_ops', op);
    },
  },
];

// Journal and superblock

const JSET_END = Jset.size;
const SPOILED_BYTE = JSET_END + 1;

/** An entry that is neither the oldest nor the newest that a replay reads. */
function middleEntries(target: DamageTarget, count: number) {
  const entries = journalEntries(target);
  const replayed = entries.filter(({ use }) => use === 'replay');
  const from = replayed.length > count + 1 ? replayed : entries;
  if (from.length < count + 2) {
    throw new UsageError(`${from.length} journal entries are too few`, undefined, 'nothing_to_damage');
  }
  const start = 1 + target.below(from.length - count - 1);
  return from.slice(start, start + count);
}

const flip = (bytes: Uint8Array, byte: number): void => {
  bytes[Math.min(byte, bytes.length - 1)]! ^= 0xff;
};

/** The newest entry, with its checksum right. */
const ofEntry = (name: string, does: string, edit: (view: DataView, bytes: Uint8Array) => void): DamageRecipe => ({
  name,
  area: 'journal',
  does,
  run: target => editEntry(target, newestEntry(target), edit),
});

const journalRecipes: readonly DamageRecipe[] = [
  {
    name: 'journal-last-csum',
    area: 'journal',
    does: 'the newest journal entry has a wrong checksum',
    run: target => spoilEntry(target, newestEntry(target), bytes => flip(bytes, SPOILED_BYTE)),
  },
  {
    name: 'journal-middle-csum',
    area: 'journal',
    does: 'a journal entry in the middle has a wrong checksum',
    run: target => spoilEntry(target, middleEntries(target, 1)[0]!, bytes => flip(bytes, SPOILED_BYTE)),
  },
  {
    name: 'journal-middle-many',
    area: 'journal',
    does: 'three journal entries in the middle are zeroes',
    run: target =>
      middleEntries(target, 3)
        .map(entry => spoilEntry(target, entry, bytes => bytes.fill(0)))
        .join('; '),
  },
  {
    name: 'journal-clean-all-zero',
    area: 'journal',
    does: 'every journal entry is zeroes',
    run(target) {
      newestEntry(target);
      return journalEntries(target)
        .map(entry => spoilEntry(target, entry, bytes => bytes.fill(0)))
        .join('; ');
    },
  },
  ofEntry('journal-entry-overrun', 'a sub-entry of the newest journal entry is longer than the entry', view => {
    view.setUint16(JSET_END + JsetEntryHeader.offset.u64s, 0xfff0, true);
  }),
  ofEntry('journal-entry-type', 'a sub-entry of the newest journal entry has an unknown type', view => {
    view.setUint8(JSET_END + JsetEntryHeader.offset.type, 200);
  }),
  ofEntry('journal-last-seq', 'the newest entry says that an entry after it is needed', view => {
    const seq = view.getBigUint64(Jset.offset.seq, true);
    view.setBigUint64(Jset.offset.last_seq, seq + 5n, true);
  }),
  {
    name: 'jset-unknown-csum',
    area: 'journal',
    does: 'the newest journal entry has checksum type 15',
    run: target =>
      spoilEntry(target, newestEntry(target), bytes => {
        bytes[Jset.offset.flags]! |= 15;
      }),
  },
];

const superblockRecipes: readonly DamageRecipe[] = [
  {
    name: 'sb-primary-csum',
    area: 'superblock',
    does: 'the first superblock has a wrong checksum, the others are sound',
    run: target => spoilCopies(target, 'first', bytes => flip(bytes, BchSb.offset.csum)),
  },
  {
    name: 'sb-primary-zero',
    area: 'superblock',
    does: 'the first sector of the first superblock is zeroes, the others are sound',
    run: target => spoilCopies(target, 'first', bytes => bytes.fill(0)),
  },
  {
    name: 'sb-backup-csum',
    area: 'superblock',
    does: 'all superblocks but the first have wrong checksums',
    run: target => spoilCopies(target, 'others', bytes => flip(bytes, BchSb.offset.csum)),
  },
  {
    name: 'sb-clean-missing',
    area: 'superblock',
    does: 'there is no clean section, whatever the superblock says',
    run: target => editSuperblocks(target, sb => withSection(sb, 'clean', undefined)),
  },
  {
    name: 'sb-alloc-info-lost',
    area: 'superblock',
    does: 'the superblock does not say that there is alloc info',
    run: target =>
      editSuperblocks(target, sb => {
        const [first = 0n, ...others] = sb.compat;
        return { ...sb, compat: [first & ~(1n << BigInt(compatFeatures.idOf('alloc_info'))), ...others] };
      }),
  },
  {
    name: 'replicas-all-missing',
    area: 'replicas and members',
    does: 'the superblock has no replicas entries',
    run: target =>
      editSuperblocks(target, sb => withSection(withSection(sb, 'replicas', undefined), 'replicas_v0', undefined)),
  },
];

// Anything

const RANDOM = 'random';

/** A key of any btree, in any way. */
function randomKey(target: DamageTarget): string {
  const filesystem = target.filesystem();
  const filled = [...filesystem.replay.roots.keys()].filter(id => btrees.byId(id) !== undefined);
  const btree = btrees.byId(
    target.pick(
      filled.sort((a, b) => a - b),
      'btree',
    ),
  )!.name;
  const key = target.pickKey(btree, `key of ${btree}`);
  const other = target.pickKey(btree, `key of ${btree}`);
  const how = target.below(key.value.length > 0 ? 5 : 4);
  switch (how) {
    case 0:
      return `${storeKey(target, btree, key, undefined)} (deleted)`;
    case 1:
      return `${storeKey(target, btree, key, shifted(key, BigInt(1 + target.below(64))))} (moved)`;
    case 2: {
      const twin = shifted(key, BigInt(1 + target.below(64)));
      target.commit(tx => tx.store(btree, twin));
      return `${keyPlace(btree, key)} is also ${keyPlace(btree, twin)} (duplicated)`;
    }
    case 3: {
      const swapped = { k: { ...other.k, p: key.k.p }, value: other.value };
      return `${storeKey(target, btree, key, swapped)} (has what ${keyPlace(btree, other)} has)`;
    }
    default: {
      const byte = target.below(key.value.length);
      const flipped = key.value[byte]! ^ (1 << target.below(8));
      return `${storeKey(target, btree, key, set(key, { [`raw[${byte}]`]: flipped }))} (a bit of byte ${byte})`;
    }
  }
}

function randomNode(target: DamageTarget): string {
  const filesystem = target.filesystem();
  const roots = [...filesystem.replay.roots.values()].filter(({ key }) => key !== undefined);
  const root = target.pick(
    roots.sort((a, b) => a.btree - b.btree),
    'btree',
  );
  const level = target.below(root.level + 1);
  const node = target.pick(nodesOfLevel(filesystem, root.btree, level), 'node');
  switch (target.below(4)) {
    case 0:
      return nodeText(node, damageNode(filesystem, node, 'zero'));
    case 1:
      return nodeText(node, damageNode(filesystem, node, 'csum'));
    case 2: {
      const at = NODE_BSET_AT - target.below(NODE_BSET_AT - BtreeNodeHeader.offset.flags) - 1;
      const edit = (_: DataView, bytes: Uint8Array) => flip(bytes, at);
      return `${nodeText(node, editNodeHead(filesystem, node, edit))} (byte ${at} of its header)`;
    }
    default: {
      const edit = (view: DataView, bytes: Uint8Array) => {
        const length = 8 * view.getUint16(bsetAt('u64s'), true);
        if (length === 0) throw new UsageError('the node has no key', undefined, 'nothing_to_damage');
        flip(bytes, NODE_KEYS_AT + target.below(length));
      };
      return `${nodeText(node, editNodeHead(filesystem, node, edit))} (a byte of a key, the checksum is right)`;
    }
  }
}

function randomEntry(target: DamageTarget): string {
  const entry = target.pick(journalEntries(target), 'journal entry');
  const at = target.below(entry.sizeBytes);
  if (at >= JSET_END && target.below(2) === 0) {
    return `${editEntry(target, entry, (_, bytes) => flip(bytes, at))} (byte ${at}, the checksum is right)`;
  }
  return `${spoilEntry(target, entry, bytes => flip(bytes, at))} (byte ${at})`;
}

function randomSection(target: DamageTarget): string {
  const { newest } = target.members();
  const sections = newest.sb.sections.filter(({ payload }) => payload.length > 0);
  const { type, payload } = target.pick(sections, 'section of the superblock');
  const at = target.below(payload.length);
  const hit = editSuperblocks(target, sb =>
    withSections(
      sb,
      sb.sections.map(section => {
        if (section.type !== type || at >= section.payload.length) return section;
        const changed = Uint8Array.from(section.payload);
        flip(changed, at);
        return { type, payload: changed };
      }),
    ),
  );
  return `${hit} (byte ${at} of section ${type})`;
}

/** Of one copy: a byte anywhere in its first sector. */
const randomCopy = (target: DamageTarget): string => {
  const which = target.below(2) === 0 ? 'first' : 'others';
  const at = target.below(SECTOR_BYTES);
  return `${spoilCopies(target, which, bytes => flip(bytes, at))} (byte ${at})`;
};

const randomRecipes: readonly DamageRecipe[] = [
  {
    name: 'random-key',
    area: RANDOM,
    does: 'any key is altered, deleted, duplicated, moved or another one',
    run: randomKey,
  },
  { name: 'random-node', area: RANDOM, does: 'any node is hit, its checksum right or not', run: randomNode },
  {
    name: 'random-journal',
    area: RANDOM,
    does: 'any journal entry is hit, its checksum right or not',
    run: randomEntry,
  },
  {
    name: 'random-section',
    area: RANDOM,
    does: 'any section of the superblock is hit, in all copies',
    run: randomSection,
  },
  { name: 'random-superblock', area: RANDOM, does: 'the first superblock or all others are hit', run: randomCopy },
  {
    name: 'random',
    area: RANDOM,
    does: 'any of these',
    run(target) {
      const run = target.pick([randomKey, randomNode, randomEntry, randomSection, randomCopy], 'kind of damage');
      return run(target);
    },
  },
];

/** All of them, in the order in which they are listed. */
export const damageRecipes: readonly DamageRecipe[] = [
  ...nodeRecipes,
  ...allocRecipes,
  ...snapshotRecipes,
  ...inodeRecipes,
  ...direntRecipes,
  ...extentRecipes,
  ...journalRecipes,
  ...superblockRecipes,
  ...randomRecipes,
];

/** @throws UsageError for names that no recipe has */
export function damageRecipe(name: string): DamageRecipe {
  const recipe = damageRecipes.find(one => one.name === name);
  if (recipe !== undefined) return recipe;
  throw new UsageError(`there is no recipe ${JSON.stringify(name.slice(0, 80))}; corrupt --list lists them`);
}
