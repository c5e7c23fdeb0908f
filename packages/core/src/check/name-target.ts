// What is at the place that an inode has noted as that of its name: nothing, or a name that leads elsewhere.

import type { KeyReader } from '../btree/source.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { dirent } from '../ondisk/keys/dirent.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../snapshots/visible.ts';

const DIRENT = keyTypes.idOf('dirent');

export interface NamePlace {
  /** The directory. */
  readonly dir: bigint;
  /** In the btree. */
  readonly dirOffset: bigint;
}

/** The inode, or the subvolume, that a name leads to as a snapshot sees it; undefined where there is none. */
export function nameTargetAt(
  dirents: KeyReader,
  table: SnapshotTable,
  { dir, dirOffset }: NamePlace,
  snapshot: number,
): bigint | undefined {
  const key = visibleKeyAt(dirents, table, snapshot, makeBpos(dir, dirOffset, snapshot), { onDamage: () => {} });
  if (key === undefined || key.k.type !== DIRENT || key.value.length < dirent.minBytes) return undefined;
  const { target } = dirent.decode(key.value);
  return 'inum' in target ? target.inum : BigInt(target.child_subvol);
}
