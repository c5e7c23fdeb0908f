// One damage for each thing that the passes over files and snapshots look for: it is named, repaired in one run, and what can be kept is kept.

import { beforeAll, describe, expect, test } from 'vitest';
import { openOn } from '../../../../../test/support/cut-states.ts';
import { treeText } from '../../../../../test/support/file-model.ts';
import { recovered, smallTree, tamper } from '../../../../../test/support/recovered.ts';
import { deletedKey, makeKey, type Transaction } from '../../btree/transaction.ts';
import { loadChecksums } from '../../checksum/checksum.ts';
import { inodeOfKey } from '../../fs/inode.ts';
import { type EditableInode, packInode } from '../../fs/inode-pack.ts';
import type { Key } from '../../ondisk/bkey.ts';
import { bposInode, makeBpos } from '../../ondisk/bpos.ts';
import type { BtreeName } from '../../ondisk/btrees.ts';
import type { FaultName } from '../../ondisk/faults.ts';
import { ROOT_INODE } from '../../ondisk/inode-unpack.ts';
import { dirent } from '../../ondisk/keys/dirent.ts';
import { setKeyField } from '../../ondisk/keys/key-fields.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { type Snapshot, snapshot } from '../../ondisk/keys/snapshot.ts';
import { snapshotTree } from '../../ondisk/keys/snapshot-tree.ts';
import { subvolume } from '../../ondisk/keys/subvolume.ts';
import { direntValue } from './file-repairs.ts';
import { newNode } from './snapshot-keys.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
const SNAPSHOT = 0xffff_ffff;
const UNLINKED = 1 << 7;
const HAS_CHILD = 1 << 9;
const NO_VALUE = new Uint8Array(0);

interface Named {
  readonly key: Key;
  readonly inum: bigint;
}

function named(tx: Transaction, name: string): Named {
  for (const key of tx.btree('dirents').keys()) {
    if (key.k.type !== keyTypes.idOf('dirent')) continue;
    const value = dirent.decode(key.value);
    if ('inum' in value.target && new TextDecoder().decode(value.name) === name)
      return { key, inum: value.target.inum };
  }
  throw new Error(`nothing is called ${name}`);
}

const inodePos = (inum: bigint) => makeBpos(0n, inum, SNAPSHOT);

function edit(tx: Transaction, inum: bigint, change: (inode: EditableInode) => void): void {
  const key = tx.get('inodes', inodePos(inum))!;
  const inode: EditableInode = { ...inodeOfKey(key, undefined)! };
  change(inode);
  tx.update('inodes', makeKey(key.k.type, key.k.p, packInode(inode), key.k));
}

const deleteAll = (tx: Transaction, btree: BtreeName, inum: bigint): void => {
  for (const { k } of [...tx.btree(btree).keys()]) if (bposInode(k.p) === inum) tx.delete(btree, k.p);
};

function addDirent(tx: Transaction, pos: Key['k']['p'], name: string, type: number, inum: bigint): void {
  tx.update('dirents', makeKey(keyTypes.idOf('dirent'), pos, direntValue(text.encode(name), type, { inum })));
}

/** The next position in the same directory. */
function after(pos: Key['k']['p']): Key['k']['p'] {
  const next = pos.slice();
  next[1]!++;
  return next;
}

function editFirst<V>(
  tx: Transaction,
  btree: BtreeName,
  kind: { decode(value: Uint8Array): V; encode(value: V): Uint8Array },
  change: (value: V) => V,
): void {
  const [key] = [...tx.btree(btree).keys()];
  tx.update(btree, makeKey(key!.k.type, key!.k.p, kind.encode(change(kind.decode(key!.value))), key!.k));
}

interface Damage {
  readonly what: string;
  readonly alter: (tx: Transaction) => void;
  /** Errors that name it, each this often. */
  readonly finds: { readonly [N in FaultName]?: number };
  /** What the tree is like afterwards; as before it when left out. */
  readonly expected?: (before: readonly string[], now: readonly string[]) => void;
}

const has = (now: readonly string[], path: string) => expect(now.some(line => line.includes(path))).toBe(true);
const hasNot = (now: readonly string[], path: string) => expect(now.some(line => line.includes(path))).toBe(false);

const damages: readonly Damage[] = [
  {
    what: 'the root directory is missing',
    alter: tx => tx.delete('inodes', inodePos(ROOT_INODE)),
    finds: { root_dir_missing: 1 },
    expected: (before, now) => expect(now.length).toBe(before.length),
  },
  {
    what: 'the root is not a directory',
    alter: tx =>
      edit(tx, ROOT_INODE, inode => {
        inode.bi_mode = 0o100755;
        inode.bi_subvol = 0;
      }),
    finds: { root_inode_not_dir: 1 },
  },
  {
    what: 'a directory is missing, its entries are there',
    alter: tx => tx.delete('inodes', inodePos(named(tx, 'deep').inum)),
    finds: { key_in_missing_inode: 1 },
    expected: (before, now) => expect(now.length).toBe(before.length),
  },
  {
    what: 'a file is missing, its data and attributes are there',
    alter: tx => tx.delete('inodes', inodePos(named(tx, 'plain').inum)),
    finds: { key_in_missing_inode: 1 },
    expected: (before, now) => expect(now.length).toBe(before.length),
  },
  {
    what: 'a name leads to nothing',
    alter: tx => {
      const { inum } = named(tx, 'top');
      for (const btree of ['extents', 'xattrs'] as const) deleteAll(tx, btree, inum);
      tx.delete('inodes', inodePos(inum));
    },
    finds: { dirent_to_missing_inode: 1 },
    expected: (_, now) => hasNot(now, 'top'),
  },
  {
    what: 'a file has no name',
    alter: tx => tx.delete('dirents', named(tx, 'plain').key.k.p),
    finds: { inode_points_to_missing_dirent: 1, inode_unreachable: 1 },
    expected: (_, now) => has(now, 'lost+found/#'),
  },
  {
    what: 'a directory with files in it has no name, and there is no lost+found',
    alter: tx => {
      tx.delete('dirents', named(tx, 'docs').key.k.p);
      const lost = named(tx, 'lost+found');
      tx.delete('dirents', lost.key.k.p);
      tx.delete('inodes', inodePos(lost.inum));
    },
    finds: { inode_unreachable: 1, inode_dir_wrong_nlink: 1 },
    expected: (before, now) => expect(now.length).toBe(before.length),
  },
  {
    what: 'a name is where no lookup finds it',
    alter: tx => {
      const { key, inum } = named(tx, 'top');
      tx.delete('dirents', key.k.p);
      addDirent(tx, makeBpos(ROOT_INODE, 77n, SNAPSHOT), 'top', 8, inum);
    },
    finds: { hash_table_key_wrong_offset: 1 },
  },
  {
    what: 'a directory has one name twice',
    alter: tx => {
      const { key } = named(tx, 'top');
      addDirent(tx, after(key.k.p), 'top', 8, named(tx, 'plain').inum);
    },
    finds: { hash_table_key_duplicate: 1, inode_multiple_links_but_nlink_0: 1 },
    expected: (_, now) => has(now, 'top.fsck_renamed-0'),
  },
  {
    what: 'a dirent says that a file is a directory',
    alter: tx => {
      const { key, inum } = named(tx, 'top');
      addDirent(tx, key.k.p.slice(), 'top', 4, inum);
    },
    finds: { dirent_d_type_wrong: 1 },
  },
  {
    what: 'a directory has two names',
    alter: tx => {
      const { inum } = named(tx, 'sub');
      const hashed = named(tx, 'top').key.k.p;
      tx.delete('dirents', hashed);
      addDirent(tx, hashed.slice(), 'top', 4, inum);
    },
    finds: { inode_dir_multiple_links: 1, inode_unreachable: 1 },
    expected: (before, now) => expect(now.length).toBe(before.length),
  },
  {
    what: 'a directory is inside of itself',
    alter: tx => {
      const { key, inum } = named(tx, 'docs');
      const { inum: deep } = named(tx, 'deep');
      tx.delete('dirents', key.k.p);
      const pos = makeBpos(deep, 99n, SNAPSHOT);
      addDirent(tx, pos, 'docs', 4, inum);
      edit(tx, inum, inode => {
        inode.bi_dir = deep;
        inode.bi_dir_offset = 99n;
      });
    },
    finds: { dir_loop: 1, hash_table_key_wrong_offset: 1 },
    expected: (before, now) => {
      expect(now.length).toBe(before.length);
      has(now, 'lost+found/docs');
    },
  },
  {
    what: 'a directory does not know its name, a file knows a wrong one',
    alter: tx => {
      edit(tx, named(tx, 'sub').inum, inode => {
        inode.bi_dir = 0n;
        inode.bi_dir_offset = 0n;
      });
      edit(tx, named(tx, 'top').inum, inode => {
        inode.bi_dir_offset = 5n;
      });
    },
    finds: { inode_dir_missing_backpointer: 1, inode_wrong_backpointer: 1 },
  },
  {
    what: 'a file with a name is unlinked',
    alter: tx =>
      edit(tx, named(tx, 'top').inum, inode => {
        inode.bi_flags |= UNLINKED;
      }),
    finds: { inode_unlinked_but_has_dirent: 1 },
  },
  {
    what: 'a directory with entries is unlinked',
    alter: tx => {
      edit(tx, named(tx, 'docs').inum, inode => {
        inode.bi_flags |= UNLINKED;
        inode.bi_nlink = 0;
      });
    },
    finds: { inode_dir_unlinked_but_not_empty: 1 },
  },
  {
    what: 'an unlinked file without a name is in no list',
    alter: tx => {
      const { key, inum } = named(tx, 'top');
      tx.delete('dirents', key.k.p);
      edit(tx, inum, inode => {
        inode.bi_flags |= UNLINKED;
        inode.bi_dir = 0n;
        inode.bi_dir_offset = 0n;
      });
      tx.delete('deleted_inodes', inodePos(inum));
    },
    finds: { unlinked_inode_not_on_deleted_list: 1, deleted_inode_but_clean: 1 },
    expected: (_, now) => hasNot(now, 'top'),
  },
  {
    what: 'the list of deleted inodes names what is there, and what is not',
    alter: tx => {
      for (const inum of [named(tx, 'top').inum, named(tx, 'docs').inum, 9999n])
        tx.update('deleted_inodes', makeKey(keyTypes.idOf('set'), inodePos(inum), NO_VALUE));
    },
    finds: { deleted_inode_not_unlinked: 1, deleted_inode_is_dir: 1, deleted_inode_missing: 1 },
  },
  {
    what: 'flags and fields that say what is not so',
    alter: tx => {
      edit(tx, named(tx, 'top').inum, inode => {
        inode.bi_flags |= HAS_CHILD;
        inode.bi_parent_subvol = 7;
      });
      edit(tx, named(tx, 'sub').inum, inode => {
        inode.bi_subvol = 9;
      });
    },
    finds: { inode_has_child_snapshots_wrong: 1, inode_bi_parent_nonzero: 1, inode_bi_subvol_missing: 1 },
  },
  {
    what: 'a file with data says that it is a directory',
    alter: tx =>
      edit(tx, named(tx, 'plain').inum, inode => {
        inode.bi_mode = 0o040644;
      }),
    finds: { key_in_wrong_inode_type: 1 },
  },
  {
    what: 'a directory says that it is a file',
    alter: tx =>
      edit(tx, named(tx, 'sub').inum, inode => {
        inode.bi_mode = 0o100755;
      }),
    finds: { key_in_wrong_inode_type: 1 },
  },
  {
    what: 'sectors are counted wrong',
    alter: tx =>
      edit(tx, named(tx, 'linked').inum, inode => {
        inode.bi_sectors += 8n;
      }),
    finds: { inode_i_sectors_wrong: 1 },
  },
  {
    what: 'an extent lies past the end of its file',
    alter: tx =>
      edit(tx, named(tx, 'linked').inum, inode => {
        inode.bi_size = 4096n;
      }),
    finds: { extent_past_end_of_inode: 2 },
    expected: (before, now) => expect(now.length).toBe(before.length),
  },
  {
    what: 'an extent has a version that was never given',
    alter: tx => {
      const [key] = [...tx.btree('extents').keys()];
      tx.update('extents', makeKey(key!.k.type, key!.k.p, key!.value.slice(), { ...key!.k, bversion_lo: 99n }));
    },
    finds: { bkey_version_in_future: 1 },
  },
  {
    what: 'the node of the only snapshot is missing',
    alter: tx => tx.delete('snapshots', makeBpos(0n, BigInt(SNAPSHOT), 0)),
    finds: { snapshot_node_missing: 1 },
  },
  {
    what: 'a node has a child that was never there, and a wrong depth and skiplist',
    alter: tx =>
      editFirst(tx, 'snapshots', snapshot, node => ({ ...node, children: [70, 0], depth: 3, skip: [0, 0, SNAPSHOT] })),
    finds: { snapshot_node_missing: 1, snapshot_bad_depth: 1, snapshot_bad_skiplist: 1 },
  },
  {
    what: 'a node says that another subvolume lives in it, and is to be deleted',
    alter: tx => editFirst(tx, 'snapshots', snapshot, node => ({ ...node, subvol: 5, flags: 1 })),
    finds: { snapshot_should_not_have_subvol: 1 },
  },
  {
    what: 'the tree of snapshots is missing',
    alter: tx => tx.delete('snapshot_trees', makeBpos(0n, 1n, 0)),
    finds: { snapshot_to_bad_snapshot_tree: 1 },
  },
  {
    what: 'the tree names another subvolume and another root',
    alter: tx => editFirst(tx, 'snapshot_trees', snapshotTree, () => ({ master_subvol: 4, root_snapshot: 4 })),
    finds: { snapshot_tree_to_missing_snapshot: 1, snapshot_tree_to_missing_subvol: 1 },
  },
  {
    what: 'the oldest generation of a bucket without pointers is newer than its own',
    alter(tx) {
      const [key] = [...tx.btree('alloc').keys()];
      tx.store('alloc', setKeyField(key!, 'oldest_gen', '8'));
    },
    finds: { alloc_key_oldest_gen_wrong: 1 },
  },
  {
    what: 'the root subvolume is missing',
    alter: tx => tx.delete('subvolumes', makeBpos(0n, 1n, 0)),
    finds: { root_subvol_missing: 1 },
  },
  {
    what: 'the root subvolume is inside of another, and lives in a snapshot that was never there',
    alter: tx => editFirst(tx, 'subvolumes', subvolume, value => ({ ...value, snapshot: 12345, fs_path_parent: 3 })),
    finds: { snapshot_node_missing: 1, subvol_root_fs_path_parent_nonzero: 1 },
  },
];

const idPos = (id: number) => makeBpos(0n, BigInt(id), 0);

/** Of the node that a subvolume lives in. */
function homeOf(tx: Transaction, id: number): number {
  return subvolume.decode(tx.get('subvolumes', idPos(id))!.value).snapshot;
}

function editNode(tx: Transaction, id: number, change: (node: Snapshot) => Snapshot): void {
  const key = tx.get('snapshots', idPos(id))!;
  tx.update('snapshots', makeKey(key.k.type, key.k.p, snapshot.encode(change(snapshot.decode(key.value))), key.k));
}

/** Puts the key of a subvolume at other numbers as well, or instead. */
function copySubvolume(tx: Transaction, id: number, to: number, isMoved: boolean): void {
  const key = tx.get('subvolumes', idPos(id))!;
  if (isMoved) tx.store('subvolumes', deletedKey(idPos(id)));
  tx.store('subvolumes', makeKey(key.k.type, idPos(to), key.value.slice(), key.k));
}

const deleteEach = (tx: Transaction, btree: BtreeName): void => {
  for (const { k } of [...tx.btree(btree).keys()]) tx.store(btree, deletedKey(k.p));
};

/** Subvolume 2 has the snapshot 3. */
const subvolumeDamages: readonly Damage[] = [
  {
    what: 'the name of a subvolume leads to the first one',
    alter: tx => {
      for (const { k, value } of [...tx.btree('dirents').keys()]) {
        if (k.type !== keyTypes.idOf('dirent')) continue;
        const { target, ...rest } = dirent.decode(value);
        if ('inum' in target || target.child_subvol !== 2) continue;
        const moved = dirent.encode({ ...rest, target: { ...target, child_subvol: 1 } });
        tx.store('dirents', makeKey(k.type, k.p.slice(), moved, k));
      }
    },
    finds: { subvol_loop: 1 },
  },
  {
    what: 'a subvolume and its snapshot are missing',
    alter: tx => {
      for (const id of [2, 3]) tx.delete('subvolumes', idPos(id));
    },
    finds: { subvol_missing: 2 },
  },
  ...[1, 2, 3].map((id): Damage => {
    const value = (tx: Transaction) => tx.get('subvolumes', idPos(id))!;
    return {
      what: `subvolume ${id} has a name, and says that it is unlinked`,
      alter: tx => {
        const { k, value: bytes } = value(tx);
        const kept = subvolume.decode(bytes);
        tx.store('subvolumes', makeKey(k.type, k.p, subvolume.encode({ ...kept, flags: kept.flags | 4 }), k));
      },
      finds: { subvol_unreachable: 1 },
    };
  }),
  ...[1, 2, 3].flatMap((id): readonly Damage[] => [
    {
      what: `subvolume ${id} is there twice`,
      alter: tx => copySubvolume(tx, id, 40, false),
      finds: { subvol_snapshot_shared: 1 },
    },
    {
      what: `subvolume ${id} has another number`,
      alter: tx => copySubvolume(tx, id, 40, true),
      finds: { [id === 1 ? 'root_subvol_missing' : 'subvol_missing']: 1, subvol_snapshot_shared: 1 },
    },
  ]),
  {
    what: 'a leaf says that it is the root of a tree, and another is marked to be deleted',
    alter: tx => {
      editNode(tx, homeOf(tx, 2), node => ({ ...node, parent: 0, depth: 0, skip: [0, 0, 0] }));
      editNode(tx, homeOf(tx, 3), node => ({ ...node, flags: 1 }));
    },
    finds: { snapshot_child_bad: 1, snapshot_should_not_have_subvol: 1 },
  },
  {
    what: 'the node that a subvolume and its snapshot are below is missing',
    alter: tx =>
      tx.delete('snapshots', idPos(snapshot.decode(tx.get('snapshots', idPos(homeOf(tx, 2)))!.value).parent)),
    finds: { snapshot_node_missing: 1 },
  },
  {
    what: 'the nodes that subvolumes live in are missing',
    alter: tx => {
      for (const id of [2, 3]) tx.delete('snapshots', idPos(homeOf(tx, id)));
    },
    finds: { snapshot_node_missing: 2 },
  },
  {
    what: 'all nodes of snapshots are missing',
    alter: tx => deleteEach(tx, 'snapshots'),
    finds: { bkey_in_missing_snapshot: 1, snapshot_node_missing: 3 },
  },
  {
    what: 'all nodes and trees of snapshots are missing',
    alter(tx) {
      deleteEach(tx, 'snapshots');
      deleteEach(tx, 'snapshot_trees');
    },
    finds: { bkey_in_missing_snapshot: 1, snapshot_node_missing: 3 },
  },
  ...(['inodes', 'extents', 'dirents', 'xattrs'] as const).map((btree): Damage => {
    return {
      what: `a key of ${btree} is in a snapshot that never was`,
      alter(tx) {
        const key = [...tx.btree(btree).keys()].at(-1)!;
        tx.store(btree, deletedKey(key.k.p));
        const pos = key.k.p.slice();
        pos[0] = 0x1234_5678;
        tx.store(btree, makeKey(key.k.type, pos, key.value.slice(), key.k));
      },
      finds: { bkey_in_missing_snapshot: 1 },
    };
  }),
  ...[1, 2, 3].flatMap((id): readonly Damage[] => {
    const rooted = (what: string, to: (tx: Transaction, own: bigint) => bigint, finds: Damage['finds']): Damage => ({
      what: `subvolume ${id} has ${what} for its root`,
      alter(tx) {
        const key = tx.get('subvolumes', idPos(id))!;
        const value = subvolume.decode(key.value);
        const inode = to(tx, value.inode);
        tx.store('subvolumes', makeKey(key.k.type, key.k.p, subvolume.encode({ ...value, inode }), key.k));
      },
      finds,
    });
    return [
      rooted('an inode that is not there', (_, own) => own + 2n ** 40n, {
        [id === 1 ? 'root_dir_missing' : 'subvol_to_missing_root']: 1,
      }),
      rooted('another directory', tx => named(tx, id === 1 ? 'docs' : 'inside').inum, {
        [id === 1 ? 'root_dir_missing' : 'subvol_root_wrong_bi_subvol']: 1,
      }),
    ];
  }),
  ...[1, 2].map((id): Damage => {
    return {
      what: `subvolume ${id} has what subvolume 3 has`,
      alter(tx) {
        const key = tx.get('subvolumes', idPos(3))!;
        tx.store('subvolumes', makeKey(key.k.type, idPos(id), key.value.slice(), key.k));
      },
      finds: { subvol_snapshot_shared: 1, [id === 1 ? 'root_subvol_missing' : 'subvol_missing']: 1 },
    };
  }),
  {
    what: 'the list of subvolumes is wrong',
    alter: tx => {
      tx.delete('subvolume_children', makeBpos(1n, 2n, 0));
      tx.update('subvolume_children', makeKey(keyTypes.idOf('set'), makeBpos(1n, 77n, 0), NO_VALUE));
    },
    finds: { subvol_children_not_set: 1, subvol_children_bad: 1 },
  },
  {
    what: 'a leaf that nothing lives in',
    alter: tx => {
      const tree = makeKey(
        keyTypes.idOf('snapshot_tree'),
        idPos(9),
        snapshotTree.encode({ master_subvol: 0, root_snapshot: 5000 }),
      );
      tx.update('snapshot_trees', tree);
      tx.update(
        'snapshots',
        makeKey(keyTypes.idOf('snapshot'), idPos(5000), snapshot.encode({ ...newNode({ tree: 9 }), sizeBytes: 56 })),
      );
    },
    finds: { snapshot_not_deleted: 1 },
  },
];

describe('damages of subvolumes', () => {
  test.for(subvolumeDamages.map(damage => [damage.what, damage] as const))('%s', ([, { alter, finds }]) => {
    const devices = smallTree({ hasSubvolumes: true });
    const before = treeText(openOn(devices), '');
    tamper(devices, alter);
    const { found, left, again, tree } = recovered(devices);
    expect(found).toMatchObject(finds);
    expect(left).toEqual([]);
    expect(again).toEqual([]);
    expect(tree).toEqual(before);
  });
});

describe('damages of files and snapshots', () => {
  test.for(damages.map(damage => [damage.what, damage] as const))('%s', ([, { alter, finds, expected }]) => {
    const devices = smallTree();
    const before = treeText(openOn(devices), '');
    tamper(devices, alter);
    const looked = recovered(devices, { kind: 'no' });
    const { found, left, again, tree } = recovered(devices);
    expect(found).toMatchObject(finds);
    expect(Object.keys(looked.found)).not.toEqual([]);
    expect(left).toEqual([]);
    expect(again).toEqual([]);
    if (expected === undefined) expect(tree).toEqual(before);
    else expected(before, tree);
  });
});
