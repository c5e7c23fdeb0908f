// Key type snapshot_tree: a lasting name for one tree of snapshot nodes, with the subvolume that the others were made from. The
// key's position is 0:tree.
// Source: struct bch_snapshot_tree in snapshots/format.h and snapshots/snapshot.c, v1.36.1.

import { at, layout, type Struct, u32, viewOf } from '../layout.ts';
import type { KeyKind } from './kind.ts';
import { isSnapshotIdPos } from './snapshot.ts';

export const BchSnapshotTree = layout('bch_snapshot_tree', 8, {
  master_subvol: at(0, u32), // 0 when that one is gone
  root_snapshot: at(4, u32),
});
export type SnapshotTree = Struct<typeof BchSnapshotTree>;

export const snapshotTree: KeyKind<SnapshotTree> = {
  name: 'snapshot_tree',
  minBytes: BchSnapshotTree.size,
  decode: value => BchSnapshotTree.get(viewOf(value), 0),
  encode(value) {
    const target = new Uint8Array(BchSnapshotTree.size);
    BchSnapshotTree.put(viewOf(target), 0, value);
    return target;
  },
  validate: (_value, k) =>
    isSnapshotIdPos(k.p) ? [] : [{ error: 'snapshot_tree_pos_bad', detail: 'a position outside 0:1 to 0:4294967295' }],
  text: (out, value) => out.print(`subvol ${value.master_subvol} root snapshot ${value.root_snapshot}`),
  json: value => ({ master_subvol: value.master_subvol, root_snapshot: value.root_snapshot }),
};
