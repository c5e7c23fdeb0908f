// delete_dead_snapshots: leaves of snapshot trees that no subvolume lives in go.
//
// What is marked to be deleted is left to the kernel, which does it in the background after any mount: it is not an error. Needs:
// check_snapshots, after which a leaf that has files has a subvolume too. Raises: snapshot_not_deleted. Memory: the nodes, and the keys that
// change.
// Repair: the node goes, with whatever keys are in it; a node above it that has one child left becomes one with that.
// Source: bch2_delete_dead_snapshots in snapshot.c, v1.13.0.

import { finding } from '../../report/finding.ts';
import { deleteDeadSnapshots } from '../../snapshots/delete-dead.ts';
import { systemRandom } from '../../util/random.ts';
import type { Pass } from '../pass.ts';
import { IS_DELETED, idPlace, SnapshotKeys, WILL_DELETE } from './snapshot-keys.ts';

export const deleteDeadSnapshotsPass: Pass = {
  name: 'delete_dead_snapshots',
  needs: ['check_snapshots', 'check_snapshot_trees', 'check_subvols'],
  run(context) {
    if (context.unreadable.has('snapshots') || context.unreadable.has('subvolumes')) return;
    const keys = new SnapshotKeys(context);
    const homes = new Set([...keys.subvolumes.values()].map(({ snapshot }) => snapshot));
    // What was not repaired before is not built upon.
    const isWhole = [...keys.nodes.values()].every(({ parent, children }) =>
      [parent, ...children].every(id => id === 0 || keys.nodes.has(id)),
    );
    let isAgreed = false;
    for (const [id, { flags }] of keys.nodes) {
      const isPending = (flags & (WILL_DELETE | IS_DELETED)) !== 0;
      if (isPending || keys.children(id).length > 0 || homes.has(id)) continue;
      const detail = 'a leaf without a subvolume, expected none';
      const found = finding('snapshot_not_deleted', idPlace('snapshots', id), { detail });
      if (context.reporter.found(found, { isRepairable: isWhole }) === 'fix') isAgreed = true;
    }
    if (isAgreed) deleteDeadSnapshots(context.change.tx, systemRandom);
  },
};
