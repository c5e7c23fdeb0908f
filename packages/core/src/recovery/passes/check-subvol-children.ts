// check_subvol_children: each subvolume is listed below the one whose directory it is in, and nothing else is.
//
// Needs: check_subvols. Raises: subvol_children_not_set, subvol_children_bad. Memory: the list. Repair: the key is set, or goes.
// Source: check_subvol_child in subvolume.c, v1.13.0.

import { makeKey } from '../../btree/transaction.ts';
import { bposInode, bposText, makeBpos } from '../../ondisk/bpos.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { finding } from '../../report/finding.ts';
import type { Pass } from '../pass.ts';
import { keysOf } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';
import { IS_UNLINKED_SUBVOLUME, idPlace, SnapshotKeys } from './snapshot-keys.ts';

const SET = keyTypes.idOf('set');
const NO_VALUE = new Uint8Array(0);

export const checkSubvolChildren: Pass = {
  name: 'check_subvol_children',
  needs: ['check_subvols'],
  run(context) {
    if (context.unreadable.has('subvolumes') || context.unreadable.has('subvolume_children')) return;
    const { subvolumes } = new SnapshotKeys(context);
    const repairs = new RepairQueue(context);
    const listed = new Set<number>();
    for (const { k } of keysOf(context, 'subvolume_children')) {
      if (k.type !== SET) continue;
      const child = k.p[1]!;
      const parent = subvolumes.get(child)?.fs_path_parent;
      if (k.p[2] === 0 && parent !== undefined && bposInode(k.p) === BigInt(parent)) {
        listed.add(child);
        continue;
      }
      const where = { btree: 'subvolume_children', pos: bposText(k.p) };
      const pos = k.p.slice();
      if (context.reporter.found(finding('subvol_children_bad', where, { parent })) === 'fix')
        repairs.add(() => context.change.tx.delete('subvolume_children', pos));
    }
    for (const [id, { fs_path_parent: parent, flags }] of subvolumes) {
      if (parent === 0 || listed.has(id) || flags & IS_UNLINKED_SUBVOLUME) continue;
      const found = finding('subvol_children_not_set', idPlace('subvolumes', id), { parent, subvolume: id });
      if (context.reporter.found(found) !== 'fix') continue;
      const pos = makeBpos(BigInt(parent), BigInt(id), 0);
      repairs.add(() => context.change.tx.update('subvolume_children', makeKey(SET, pos, NO_VALUE)));
    }
    repairs.run();
  },
};
