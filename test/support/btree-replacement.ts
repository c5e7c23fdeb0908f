// Btrees that are to be put in the place of others, from what is there.

import {
  type BtreeName,
  type BtreeReplacement,
  type Filesystem,
  FilesystemTriggers,
  nodePointers,
  Transaction,
} from '@bcachefs-ts/core/engine';

/** Their keys do not go by where nodes are. */
export const INDEPENDENT: readonly BtreeName[] = [
  'extents',
  'inodes',
  'dirents',
  'xattrs',
  'subvolumes',
  'snapshots',
  'reflink',
  'deleted_inodes',
];
/** They have something to say of each node, those of their own included. */
export const DERIVED: readonly BtreeName[] = [
  'alloc',
  'freespace',
  'need_discard',
  'backpointers',
  'accounting',
  'bucket_gens',
  'lru',
];
export const ALL: readonly BtreeName[] = [...INDEPENDENT, ...DERIVED];

/** From their own keys. */
export const madeAgain = (filesystem: Filesystem, names: readonly BtreeName[]): readonly BtreeReplacement[] =>
  names.map(btree => ({ btree, keys: () => filesystem.btree(btree).keys() }));

/** From what their keys would be without the nodes that go: those of a count that does not know of them. */
export function madeUncounted(filesystem: Filesystem, names: readonly BtreeName[]): readonly BtreeReplacement[] {
  const triggers = new FilesystemTriggers(filesystem.sb, {
    journalSeq: filesystem.replay.lastSeq + 1,
    readClock: 1n,
    writeClock: 1n,
  });
  const tx = new Transaction(filesystem, triggers);
  for (const name of names) {
    const view = filesystem.btree(name);
    for (const { level, ptr } of [...nodePointers(view)])
      tx.runTriggers({ btree: view.id, level: level + 1, before: ptr, after: undefined });
  }
  tx.settle();
  return names.map(btree => ({ btree, keys: () => tx.btree(btree).keys(), gone: [] }));
}
