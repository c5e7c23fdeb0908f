// check_snapshot_trees: each tree has its root and the subvolume that the others in it were made from.
//
// Needs: check_snapshots, which comes before it here, since what a tree's root is follows from the nodes. Raises:
// snapshot_tree_to_missing_snapshot, snapshot_tree_to_missing_subvol, snapshot_tree_to_wrong_subvol, snapshot_tree_to_snapshot_subvol.
// Memory: the nodes. Repair: the root that its nodes lead up to, or the tree goes; the first subvolume that is not a snapshot, else the oldest.
// Source: check_snapshot_tree and bch2_snapshot_tree_master_subvol in snapshot.c, v1.13.0.

import type { SnapshotTree } from '../../ondisk/keys/snapshot-tree.ts';
import { type Finding, finding } from '../../report/finding.ts';
import type { Pass, PassContext } from '../pass.ts';
import { IS_SNAPSHOT, idPlace, SnapshotKeys } from './snapshot-keys.ts';

export const checkSnapshotTrees: Pass = {
  name: 'check_snapshot_trees',
  needs: ['check_snapshots'],
  run(context) {
    if (context.unreadable.has('snapshots') || context.unreadable.has('snapshot_trees')) return;
    const keys = new SnapshotKeys(context);
    for (const [id, tree] of [...keys.trees]) {
      if (checkRoot(context, keys, id, tree) && !context.unreadable.has('subvolumes')) checkMaster(context, keys, id);
    }
  },
};

/** @returns whether it has one */
function checkRoot(context: PassContext, keys: SnapshotKeys, id: number, tree: SnapshotTree): boolean {
  const root = keys.nodes.get(tree.root_snapshot);
  if (root !== undefined && root.parent === 0 && root.tree === id) return true;
  const found = finding('snapshot_tree_to_missing_snapshot', idPlace('snapshot_trees', id), {
    root: tree.root_snapshot,
  });
  const [right] = [...keys.nodes].find(([, node]) => node.tree === id && node.parent === 0) ?? [];
  const after = right === undefined ? 'the tree goes' : `root ${right}`;
  if (context.reporter.found(found, { after }) !== 'fix') return false;
  if (right === undefined) keys.deleteTree(id);
  else keys.writeTree(id, { ...tree, root_snapshot: right });
  return right !== undefined;
}

function checkMaster(context: PassContext, keys: SnapshotKeys, id: number): void {
  const tree = keys.trees.get(id);
  if (tree === undefined) return;
  const found = wrongMaster(keys, id, tree);
  if (found === undefined) return;
  const within = [...keys.subvolumes]
    .filter(([, { snapshot }]) => keys.nodes.get(snapshot)?.tree === id)
    .sort(([a], [b]) => a - b);
  const master = within.find(([, { flags }]) => (flags & IS_SNAPSHOT) === 0) ?? within[0];
  // Nothing lives in it: its nodes are dead, and go with it.
  if (master === undefined) return;
  const [subvol, value] = master;
  if (context.reporter.found(found, { after: `subvolume ${subvol}` }) !== 'fix') return;
  keys.writeTree(id, { ...tree, master_subvol: subvol });
  if (value.flags & IS_SNAPSHOT) keys.editSubvolume(subvol, { flags: value.flags & ~IS_SNAPSHOT });
}

function wrongMaster(
  keys: SnapshotKeys,
  id: number,
  { master_subvol, root_snapshot }: SnapshotTree,
): Finding | undefined {
  const where = idPlace('snapshot_trees', id);
  const master = keys.subvolumes.get(master_subvol);
  if (master === undefined) return finding('snapshot_tree_to_missing_subvol', where, { subvolume: master_subvol });
  if (!keys.isAncestor(master.snapshot, root_snapshot))
    return finding('snapshot_tree_to_wrong_subvol', where, { subvolume: master_subvol, snapshot: master.snapshot });
  if (master.flags & IS_SNAPSHOT)
    return finding('snapshot_tree_to_snapshot_subvol', where, { subvolume: master_subvol });
  return undefined;
}
