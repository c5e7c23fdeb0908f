// Snapshots, their trees, and subvolumes: every link has its counterpart.
// Source: check_snapshot and check_snapshot_tree in snapshot.c, check_subvol and check_subvol_child in subvolume.c, v1.13.0.

import { readInode } from '../fs/inode.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposInode, makeBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyKind } from '../ondisk/keys/kind.ts';
import { type Snapshot, snapshot } from '../ondisk/keys/snapshot.ts';
import { type SnapshotTree, snapshotTree } from '../ondisk/keys/snapshot-tree.ts';
import { type Subvolume, subvolume } from '../ondisk/keys/subvolume.ts';
import { ROOT_SUBVOLUME, type SnapshotTable } from '../snapshots/snapshot-table.ts';
import { type InvariantContext, keyPlace } from './context.ts';
import type { InodeRows } from './inode-rows.ts';

const SNAPSHOTS = btrees.idOf('snapshots');
const TREES = btrees.idOf('snapshot_trees');
const SUBVOLUMES = btrees.idOf('subvolumes');
const CHILDREN = btrees.idOf('subvolume_children');
const SET = keyTypes.idOf('set');

/** Bits of snapshots' flags. */
const HAS_SUBVOL = 2;
const IS_DELETED = 4;
/** Bits of subvolumes' flags. */
const IS_SNAPSHOT = 2;
const IS_SUBVOL_UNLINKED = 4;
/** BCH_SNAPSHOT depth and skiplists are there since this length. */
const DEPTH_BYTES = 40;

export class SnapshotLinks {
  readonly #context: InvariantContext;
  readonly #table: SnapshotTable;
  readonly #nodes: ReadonlyMap<number, Snapshot>;
  readonly #trees: ReadonlyMap<number, SnapshotTree>;
  readonly subvolumes: ReadonlyMap<number, Subvolume>;

  constructor(context: InvariantContext, table: SnapshotTable) {
    this.#context = context;
    this.#table = table;
    this.#nodes = entries(context, 'snapshots', snapshot);
    this.#trees = entries(context, 'snapshot_trees', snapshotTree);
    this.subvolumes = entries(context, 'subvolumes', subvolume);
  }

  check(rows: InodeRows): void {
    for (const [id, node] of this.#nodes) this.#checkNode(id, node);
    for (const [id, tree] of this.#trees) this.#checkTree(id, tree);
    for (const [id, value] of this.subvolumes) this.#checkSubvolume(id, value, rows);
    this.#checkChildren();
  }

  #checkNode(id: number, node: Snapshot): void {
    const { report } = this.#context;
    const where = keyPlace(SNAPSHOTS, makeBpos(0n, BigInt(id), 0));
    const parent = node.parent === 0 ? undefined : this.#nodes.get(node.parent);
    if (node.parent !== 0 && parent === undefined) {
      report.add('snapshot_node_missing', where, { as: 'parent', snapshot: node.parent });
    }
    if (parent !== undefined && !parent.children.includes(id)) {
      report.add('snapshot_parent_bad', where, { parent: node.parent, children: parent.children, snapshot: id });
    }
    for (const child of node.children) {
      if (child === 0) continue;
      const found = this.#nodes.get(child);
      if (found === undefined) report.add('snapshot_node_missing', where, { as: 'child', snapshot: child });
      else if (found.parent !== id)
        report.add('snapshot_child_bad', where, { child, found: found.parent, expected: id });
    }
    if ((node.flags & HAS_SUBVOL) !== 0 && (node.flags & IS_DELETED) === 0) {
      const own = this.subvolumes.get(node.subvol);
      if (own === undefined) report.add('subvol_missing', where, { subvolume: node.subvol });
      else report.compare('snapshot_subvol_backref_wrong', where, own.snapshot, id);
    } else if (node.subvol !== 0) {
      report.add('snapshot_should_not_have_subvol', where, { subvolume: node.subvol });
    }
    const tree = this.#trees.get(node.tree);
    if (tree === undefined || !this.#table.isAncestor(id, tree.root_snapshot)) {
      report.add('snapshot_to_bad_snapshot_tree', where, { tree: node.tree });
    }
    if (node.sizeBytes >= DEPTH_BYTES) this.#checkShortcuts(id, node, parent);
  }

  #checkShortcuts(id: number, node: Snapshot, parent: Snapshot | undefined): void {
    const { report } = this.#context;
    const where = keyPlace(SNAPSHOTS, makeBpos(0n, BigInt(id), 0));
    report.compare('snapshot_bad_depth', where, node.depth, parent === undefined ? 0 : parent.depth + 1);
    const isGood = node.skip.every(skip => (node.parent === 0 ? skip === 0 : this.#table.isAncestor(id, skip)));
    if (!isGood) report.add('snapshot_bad_skiplist', where, { skip: node.skip });
  }

  #checkTree(id: number, { master_subvol, root_snapshot }: SnapshotTree): void {
    const { report } = this.#context;
    const where = keyPlace(TREES, makeBpos(0n, BigInt(id), 0));
    const root = this.#nodes.get(root_snapshot);
    if (root === undefined || root.parent !== 0 || root.tree !== id) {
      report.add('snapshot_tree_to_missing_snapshot', where, { root: root_snapshot });
      return;
    }
    const master = this.subvolumes.get(master_subvol);
    if (master === undefined) {
      report.add('snapshot_tree_to_missing_subvol', where, { subvolume: master_subvol });
    } else if (!this.#table.isAncestor(master.snapshot, root_snapshot)) {
      const facts = { subvolume: master_subvol, snapshot: master.snapshot };
      report.add('snapshot_tree_to_wrong_subvol', where, facts);
    } else if (master.flags & IS_SNAPSHOT) {
      report.add('snapshot_tree_to_snapshot_subvol', where, { subvolume: master_subvol });
    }
  }

  #checkSubvolume(id: number, value: Subvolume, rows: InodeRows): void {
    const { report } = this.#context;
    const where = keyPlace(SUBVOLUMES, makeBpos(0n, BigInt(id), 0));
    const node = this.#nodes.get(value.snapshot);
    if (node === undefined) {
      report.add('snapshot_node_missing', where, { as: 'snapshot', snapshot: value.snapshot });
      return;
    }
    if (value.flags & IS_SUBVOL_UNLINKED) {
      if (this.#context.isClean) report.add('subvol_unreachable', where, {});
      return;
    }
    report.compare('snapshot_subvol_backref_wrong', where, node.subvol, id);
    if (id === ROOT_SUBVOLUME && value.fs_path_parent !== 0) {
      report.add('subvol_root_fs_path_parent_nonzero', where, { found: value.fs_path_parent, expected: 0 });
    }
    const root = rows.seenFrom(value.inode, value.snapshot, this.#table);
    // What hides an older version has no row.
    const isSeen = readInode(this.#context.source, this.#table, value.snapshot, value.inode, { onDamage: () => {} });
    if (root === undefined || isSeen === undefined) {
      report.add('subvol_to_missing_root', where, { inum: value.inode });
    } else {
      report.compare('subvol_root_wrong_bi_subvol', where, rows.columns.subvolume[root]!, id);
    }
    if ((value.flags & IS_SNAPSHOT) === 0) {
      const master = this.#trees.get(node.tree)?.master_subvol ?? 0;
      report.compare('subvol_not_master_and_not_snapshot', where, master, id);
    }
  }

  #checkChildren(): void {
    const { report } = this.#context;
    if (!report.asks('subvol_children_bad')) return;
    const listed = new Set<number>();
    for (const { k } of this.#context.keys('subvolume_children')) {
      if (k.type !== SET) continue;
      const child = k.p[1]!;
      const parent = this.subvolumes.get(child)?.fs_path_parent;
      if (k.p[2] !== 0 || parent === undefined || bposInode(k.p) !== BigInt(parent)) {
        report.add('subvol_children_bad', keyPlace(CHILDREN, k.p), { parent });
      } else {
        listed.add(child);
      }
    }
    for (const [id, { fs_path_parent }] of this.subvolumes) {
      if (fs_path_parent === 0 || listed.has(id)) continue;
      const where = keyPlace(SUBVOLUMES, makeBpos(0n, BigInt(id), 0));
      report.add('subvol_children_not_set', where, { parent: fs_path_parent, subvolume: id });
    }
  }
}

function entries<V>(
  context: InvariantContext,
  btree: 'snapshots' | 'snapshot_trees' | 'subvolumes',
  kind: KeyKind<V>,
): ReadonlyMap<number, V> {
  const type = keyTypes.idOf(kind.name);
  const isSound = ({ k, value }: Key) =>
    k.type === type && value.length >= kind.minBytes && k.p[2] === 0 && k.p[3] === 0;
  const found = new Map<number, V>();
  for (const key of context.keys(btree)) if (isSound(key)) found.set(key.k.p[1]!, kind.decode(key.value));
  return found;
}
