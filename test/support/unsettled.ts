// Damages whose repair was not silent afterwards, as random damage had found them (test/fsck/random-damage.test.ts).

import {
  bposInode,
  bposOffset,
  btrees,
  inodeOfKey,
  type Key,
  keyTypes,
  makeKey,
  type Transaction,
} from '@bcachefs-ts/core/engine';
import { makeBpos } from '../../packages/core/src/ondisk/bpos.ts';

const GENERATION = keyTypes.idOf('inode_generation');
const NEVER_WAS = 0x00ff_ffff;

const keysOf = (tx: Transaction, btree: Parameters<Transaction['btree']>[0]): readonly Key[] =>
  [...tx.btree(btree).keys()].map(({ k, value }) => ({ k: { ...k, p: k.p.slice() }, value: value.slice() }));

const at = ({ k, value }: Key, pos: Key['k']['p'], rest: Partial<Key['k']> = {}): Key =>
  makeKey(k.type, pos, value, { ...k, ...rest });

function move(tx: Transaction, btree: Parameters<Transaction['store']>[0], key: Key, pos: Key['k']['p']): void {
  const id = typeof btree === 'number' ? btree : btrees.idOf(btree);
  tx.store(id, makeKey(keyTypes.idOf('deleted'), key.k.p, new Uint8Array()));
  tx.store(id, at(key, pos));
}

/** The versions of the root of the subvolume that has snapshots, the youngest first. */
function rootVersions(tx: Transaction): readonly Key[] {
  const inodes = keysOf(tx, 'inodes');
  const root = inodes.find(key => (inodeOfKey(key, undefined)?.bi_subvol ?? 0) > 1);
  return inodes.filter(({ k }) => bposOffset(k.p) === bposOffset(root!.k.p));
}

export interface Unsettled {
  readonly what: string;
  readonly alter: (tx: Transaction) => void;
  readonly finds: Readonly<Record<string, number>>;
  /** Paths of the tree are the same afterwards. */
  readonly keepsTree?: boolean;
  /** What so many lines of it are like. */
  readonly shows?: readonly [RegExp, number];
}

/** Each is done to a small tree with subvolumes. */
export const unsettledDamages: readonly Unsettled[] = [
  {
    what: 'an extent at a position beyond what numbers are exact for',
    alter(tx) {
      const [key] = keysOf(tx, 'extents');
      const pos = makeBpos(bposInode(key!.k.p), 0xff00_0000_0000_0009n, key!.k.p[0]!);
      tx.update('extents', makeKey(keyTypes.idOf('error'), pos, new Uint8Array(), { size: 8 }));
    },
    finds: { extent_past_end_of_inode: 1 },
    keepsTree: true,
  },
  {
    what: 'an extent of a version that nothing has counted up to',
    alter(tx) {
      const [key] = keysOf(tx, 'extents');
      tx.update('extents', at(key!, key!.k.p, { bversion_hi: 5 }));
    },
    finds: { bkey_version_in_future: 1 },
    keepsTree: true,
  },
  {
    what: 'keys that are not of data have versions that nothing has counted up to',
    alter(tx) {
      for (const btree of ['inodes', 'dirents', 'xattrs', 'snapshots', 'subvolumes'] as const) {
        const [key] = keysOf(tx, btree);
        tx.store(btrees.idOf(btree), at(key!, key!.k.p, { bversion_lo: 0x00ff_0000_0000_0000n }));
      }
    },
    finds: { bkey_version_in_future: 5 },
    keepsTree: true,
  },
  {
    what: 'something else where a snapshot has its own version of its root',
    alter(tx) {
      const [, version] = rootVersions(tx);
      tx.update('inodes', makeKey(GENERATION, version!.k.p, new Uint8Array(8)));
    },
    finds: { subvol_to_missing_root: 1 },
    keepsTree: true,
  },
  {
    what: 'all inodes and names are lost, of snapshots too',
    alter(tx) {
      for (const btree of ['inodes', 'dirents'] as const) for (const { k } of keysOf(tx, btree)) tx.delete(btree, k.p);
    },
    finds: { subvol_to_missing_root: 2 },
  },
  {
    what: 'names are lost, of a file too that one of several snapshots has deleted',
    alter(tx) {
      const [younger] = rootVersions(tx);
      const shared = keysOf(tx, 'inodes').findLast(
        ({ k }) => k.p[0]! > younger!.k.p[0]! && k.p[0]! < 0xffff_ffff && bposOffset(k.p) > bposOffset(younger!.k.p),
      );
      tx.update(
        'inodes',
        makeKey(GENERATION, makeBpos(0n, bposOffset(shared!.k.p), younger!.k.p[0]!), new Uint8Array(8)),
      );
      for (const { k } of keysOf(tx, 'dirents')) tx.delete('dirents', k.p);
    },
    finds: { subvol_unreachable: 3 },
    // Both see the directory that they share, and one of them the file.
    shows: [/subvol-.*\/lost\+found\/#\d+ dir /, 2],
  },
  {
    what: 'a subvolume has the number of its snapshot',
    alter(tx) {
      const second = keysOf(tx, 'subvolumes').find(({ k }) => bposOffset(k.p) === 2n);
      move(tx, 'subvolumes', second!, makeBpos(0n, 3n, 0));
    },
    finds: { subvol_missing: 2, subvol_snapshot_shared: 1 },
    keepsTree: true,
  },
  {
    what: 'a root directory is in a snapshot that never was',
    alter(tx) {
      const root = keysOf(tx, 'inodes').find(key => inodeOfKey(key, undefined)?.bi_subvol === 1);
      tx.store(btrees.idOf('inodes'), at(root!, makeBpos(0n, bposOffset(root!.k.p), NEVER_WAS)));
    },
    finds: { bkey_in_missing_snapshot: 1 },
  },
  {
    what: 'a file of another tree has the number of the root of a subvolume',
    alter(tx) {
      const [version] = rootVersions(tx);
      const file = keysOf(tx, 'inodes').find(key => inodeOfKey(key, undefined)?.bi_size === 300n);
      move(tx, 'inodes', file!, makeBpos(0n, bposOffset(version!.k.p), 0xffff_ffff));
    },
    finds: { inode_snapshot_mismatch: 1 },
  },
  {
    what: 'the root of a subvolume is hidden in its snapshot',
    alter(tx) {
      const [version] = rootVersions(tx);
      tx.store(btrees.idOf('inodes'), makeKey(keyTypes.idOf('whiteout'), version!.k.p, new Uint8Array()));
    },
    finds: { subvol_to_missing_root: 1 },
    keepsTree: true,
  },
  {
    what: 'all inodes are gone',
    alter(tx) {
      for (const { k } of keysOf(tx, 'inodes'))
        tx.store(btrees.idOf('inodes'), makeKey(keyTypes.idOf('deleted'), k.p, new Uint8Array()));
    },
    finds: { key_in_missing_inode: 9, root_dir_missing: 1, subvol_to_missing_root: 2 },
    shows: [/\/(volume|snapshot)\//, 5],
  },
  {
    what: 'the root of a subvolume is in a snapshot that never was, too',
    alter(tx) {
      const [version] = rootVersions(tx);
      tx.store(btrees.idOf('inodes'), at(version!, makeBpos(0n, bposOffset(version!.k.p), 0xffff_ff01)));
    },
    finds: { bkey_in_missing_snapshot: 1 },
  },
];
