// Pointers to all btree nodes of a filesystem: of each btree the root's, then those of each level. Only interior nodes are read.

import type { Key } from '../ondisk/bkey.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { Damage } from '../report/finding.ts';
import type { Filesystem } from './filesystem.ts';

export interface NodePointer {
  readonly btree: number;
  /** The node's own; 0 for leaves. */
  readonly level: number;
  /** Which may be a view of the node that it is in. */
  readonly ptr: Key;
}

/**
 * @param onRoot called with roots that cannot be used
 * @param onNode called with interior nodes that cannot be read
 */
export function* nodePointers(
  filesystem: Filesystem,
  onRoot: (damage: Damage) => void,
  onNode: (damage: Damage) => void = onRoot,
): Generator<NodePointer> {
  for (const id of [...filesystem.replay.roots.keys()].sort((a, b) => a - b)) {
    if (btrees.byId(id) === undefined) continue;
    const view = filesystem.btree(id);
    const { root } = view;
    if (root?.key === undefined) {
      onRoot(new CorruptError('btree_root_bkey_invalid', { btree: view.name }, 'its root cannot be used'));
      continue;
    }
    yield { btree: id, level: root.level, ptr: root.key };
    for (let level = root.level; level > 0; level--)
      for (const ptr of view.keys({ level, onDamage: onNode })) yield { btree: id, level: level - 1, ptr };
  }
}
