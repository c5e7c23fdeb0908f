// check_snapshots: nodes of snapshot trees know their parents, their children and the subvolume that lives in them.
//
// Needs: reconstruct_snapshots, after which the parents that nodes name are there. Raises: snapshot_node_missing, snapshot_parent_bad,
// snapshot_child_bad, snapshot_should_not_have_subvol, subvol_missing, snapshot_subvol_backref_wrong, snapshot_to_bad_snapshot_tree,
// snapshot_bad_depth, snapshot_bad_skiplist. Memory: the nodes.
// Repair: where two nodes disagree, a link that one of them has is believed: that nothing points to a node is how one is lost. A leaf with a
// subvolume is not deleted, whatever its flags say. Depths and skiplists are computed.
// Source: check_snapshot in snapshot.c (which gives up on links and subvolumes), v1.13.0.

import type { Snapshot } from '../../ondisk/keys/snapshot.ts';
import { type Finding, finding } from '../../report/finding.ts';
import type { Pass, PassContext } from '../pass.ts';
import { inodeIndex } from './inode-index.ts';
import { makeHome } from './reconstruct-snapshots.ts';
import {
  asChildren,
  HAS_NO_KEYS,
  HAS_SUBVOLUME,
  IS_DELETED,
  idPlace,
  SnapshotKeys,
  WILL_DELETE,
} from './snapshot-keys.ts';

/** Flags of what is being deleted. */
const DYING = WILL_DELETE | IS_DELETED | HAS_NO_KEYS;
/** The key of a node has a depth and a skiplist from this length on. */
const DEPTH_BYTES = 40;

export const checkSnapshots: Pass = {
  name: 'check_snapshots',
  needs: ['reconstruct_snapshots'],
  run(context) {
    if (context.unreadable.has('snapshots')) return;
    const check = new SnapshotCheck(context);
    check.links();
    if (!context.unreadable.has('subvolumes')) check.subvolumes();
    check.trees();
    check.shortcuts();
  },
};

class SnapshotCheck {
  readonly #context: PassContext;
  readonly #keys: SnapshotKeys;

  constructor(context: PassContext) {
    this.#context = context;
    this.#keys = new SnapshotKeys(context);
  }

  links(): void {
    for (const [id] of [...this.#keys.nodes]) {
      this.#checkChildren(id);
      this.#checkParent(id);
    }
  }

  #checkChildren(id: number): void {
    const { nodes } = this.#keys;
    for (const child of this.#keys.children(id)) {
      const found = nodes.get(child);
      const where = idPlace('snapshots', id);
      if (found === undefined) {
        if (this.#isToBeFixed(finding('snapshot_node_missing', where, { as: 'child', snapshot: child })))
          this.#dropChild(id, child);
        continue;
      }
      if (found.parent === id) continue;
      const facts = { child, found: found.parent, expected: id };
      if (!this.#isToBeFixed(finding('snapshot_child_bad', where, facts))) continue;
      const other = nodes.get(found.parent);
      // The child is at home with another node, which knows it.
      if (other?.children.includes(child) === true && found.parent > child) this.#dropChild(id, child);
      else this.#keys.editNode(child, { parent: id });
    }
  }

  #dropChild(id: number, child: number): void {
    this.#keys.editNode(id, { children: asChildren(this.#keys.children(id).filter(one => one !== child)) });
  }

  #checkParent(id: number): void {
    const { nodes } = this.#keys;
    const parent = nodes.get(id)?.parent ?? 0;
    if (parent === 0) return;
    const above = nodes.get(parent);
    if (above?.children.includes(id) === true) return;
    const where = idPlace('snapshots', id);
    if (above === undefined) {
      const found = finding('snapshot_node_missing', where, { as: 'parent', snapshot: parent });
      if (this.#isToBeFixed(found)) this.#keys.editNode(id, { parent: 0 });
      return;
    }
    const facts = { parent, children: above.children, snapshot: id };
    if (!this.#isToBeFixed(finding('snapshot_parent_bad', where, facts))) return;
    const children = this.#keys.children(parent);
    if (children.length < 2) this.#keys.editNode(parent, { children: asChildren([...children, id]) });
    else this.#keys.editNode(id, { parent: 0 });
  }

  subvolumes(): void {
    const { nodes } = this.#keys;
    const homes = new Map([...this.#keys.subvolumes].map(([subvol, { snapshot }]) => [snapshot, subvol]));
    for (const [id, node] of [...nodes]) {
      const living = this.#keys.children(id).length === 0 ? homes.get(id) : undefined;
      if (living !== undefined) this.#checkHome(id, node, living);
      else if ((node.flags & IS_DELETED) === 0) this.#checkEmpty(id, node);
    }
  }

  /** A leaf that a subvolume lives in. */
  #checkHome(id: number, node: Snapshot, subvol: number): void {
    const flags = (node.flags & ~DYING) | HAS_SUBVOLUME;
    if (node.subvol === subvol && node.flags === flags) return;
    const where = idPlace('snapshots', id);
    let found: Finding;
    if (node.flags & DYING) found = finding('snapshot_should_not_have_subvol', where, { subvolume: subvol });
    else if (node.subvol !== subvol && node.subvol !== 0 && !this.#keys.subvolumes.has(node.subvol))
      found = finding('subvol_missing', where, { subvolume: node.subvol });
    else found = finding('snapshot_subvol_backref_wrong', where, { found: node.subvol, expected: subvol });
    if (this.#isToBeFixed(found, `subvolume ${subvol} lives in it`)) this.#keys.editNode(id, { subvol, flags });
  }

  #checkEmpty(id: number, node: Snapshot): void {
    if (node.subvol === 0 && (node.flags & HAS_SUBVOLUME) === 0) return;
    const where = idPlace('snapshots', id);
    const isKnown = this.#keys.subvolumes.has(node.subvol);
    const found = isKnown
      ? finding('snapshot_should_not_have_subvol', where, { subvolume: node.subvol })
      : finding('subvol_missing', where, { subvolume: node.subvol });
    const hasFiles = !isKnown && this.#keys.children(id).length === 0 && this.#hasInodes(id);
    if (!this.#isToBeFixed(found, hasFiles ? 'a subvolume that shows what is in it' : 'no subvolume lives in it'))
      return;
    const subvol = hasFiles ? makeHome(this.#context, this.#keys, id) : 0;
    const flags = hasFiles ? node.flags | HAS_SUBVOLUME : node.flags & ~HAS_SUBVOLUME;
    this.#keys.editNode(id, { subvol, flags });
  }

  /** Without a subvolume in it, what is in a leaf is deleted. */
  #hasInodes(id: number): boolean {
    const { rows } = inodeIndex(this.#context);
    return rows.columns.snapshot.subarray(0, rows.count).includes(id);
  }

  /** Nodes are in the tree whose root they lead up to. */
  trees(): void {
    const { nodes, trees } = this.#keys;
    for (const [id, node] of [...nodes].sort(([a], [b]) => b - a)) {
      if (node.flags & IS_DELETED) continue;
      const root = this.#keys.rootOf(id);
      const tree = trees.get(node.tree);
      if (tree !== undefined && (tree.root_snapshot === root || this.#keys.isAncestor(id, tree.root_snapshot)))
        continue;
      const rootTree = nodes.get(root)?.tree ?? 0;
      const named = [...trees].find(([, { root_snapshot }]) => root_snapshot === root)?.[0];
      const isFree = (one: number) =>
        ![...nodes].some(([other, { tree: its, parent }]) => its === one && parent === 0 && other !== root);
      // A tree that names a node which is not its root is put right in check_snapshot_trees.
      if (tree !== undefined && node.tree === rootTree && isFree(node.tree)) continue;
      const where = idPlace('snapshots', id);
      if (!this.#isToBeFixed(finding('snapshot_to_bad_snapshot_tree', where, { tree: node.tree }))) continue;
      const right =
        named ?? (id !== root && trees.has(rootTree) && isFree(rootTree) ? rootTree : this.#keys.newTreeId());
      if (!trees.has(right)) this.#keys.writeTree(right, { master_subvol: this.#masterOf(root), root_snapshot: root });
      this.#keys.editNode(id, { tree: right });
    }
  }

  /** The subvolume that the others below a root were made from: the first that was not made as a snapshot, else the oldest. */
  #masterOf(root: number): number {
    const within = [...this.#keys.subvolumes].filter(([, { snapshot }]) => this.#keys.isAncestor(snapshot, root));
    const master = within.find(([, { flags }]) => (flags & 2) === 0) ?? within[0];
    return master?.[0] ?? 0;
  }

  /** From the roots on. */
  shortcuts(): void {
    for (const [id, node] of [...this.#keys.nodes].sort(([a], [b]) => b - a)) {
      if (node.sizeBytes < DEPTH_BYTES || node.flags & IS_DELETED) continue;
      const where = idPlace('snapshots', id);
      const { parent } = node;
      const depth = parent === 0 ? 0 : (this.#keys.nodes.get(parent)?.depth ?? 0) + 1;
      if (node.depth !== depth) {
        const found = finding('snapshot_bad_depth', where, { found: node.depth, expected: depth });
        if (this.#isToBeFixed(found)) this.#keys.editNode(id, { depth });
      }
      const isSound = node.skip.every(skip => (parent === 0 ? skip === 0 : this.#keys.isAncestor(id, skip)));
      if (isSound) continue;
      if (this.#isToBeFixed(finding('snapshot_bad_skiplist', where, { skip: node.skip })))
        this.#keys.editNode(id, { skip: [parent, parent, parent] });
    }
  }

  #isToBeFixed(found: Finding, after?: string): boolean {
    return this.#context.reporter.found(found, after === undefined ? {} : { after }) === 'fix';
  }
}
