// Inodes as one snapshot sees them.
// Source: bch2_inode_peek in inode.c, v1.13.0.

import type { FilesystemSource } from '../btree/source.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposSnapshot, bposText } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { type Inode, unpackInodeV1, unpackInodeV2, unpackInodeV3 } from '../ondisk/inode-unpack.ts';
import { keyKind } from '../ondisk/keys/index.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type DamageOptions, type OnDamage, reportDamage } from '../snapshots/damage.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../snapshots/visible.ts';

const unpackers: ReadonlyMap<number, (value: Uint8Array) => Inode> = new Map([
  [keyTypes.idOf('inode'), unpackInodeV1],
  [keyTypes.idOf('inode_v2'), unpackInodeV2],
  [keyTypes.idOf('inode_v3'), unpackInodeV3],
]);

export interface FoundInode {
  readonly inode: Inode;
  /** The snapshot that its key belongs to: the one that sees it, or an ancestor. */
  readonly keySnapshot: number;
}

/**
 * The inode in a key of the inodes btree; undefined for a key of another type (inode_generation) and a value that is too short, which is
 * reported. Fields that cannot be unpacked are reported, and zero.
 * @throws CorruptError inode_unpack_error, bkey_val_size_too_small, unless `onDamage` is given
 */
export function inodeOfKey(key: Key, onDamage: OnDamage | undefined): Inode | undefined {
  const unpack = unpackers.get(key.k.type);
  if (unpack === undefined) return undefined;
  const where = { btree: 'inodes', pos: bposText(key.k.p) };
  const minBytes = keyKind(key.k.type)?.minBytes ?? 0;
  if (key.value.length < minBytes) {
    const detail = `an inode of ${key.value.length} bytes, expected ${minBytes} or more`;
    reportDamage(new CorruptError('bkey_val_size_too_small', where, detail), onDamage);
    return undefined;
  }
  const inode = unpack(key.value);
  if (inode.unpack_error !== undefined) {
    const detail = `its field ${inode.unpack_error} cannot be read: it and all after it count as zero`;
    reportDamage(new CorruptError('inode_unpack_error', where, detail), onDamage);
  }
  return inode;
}

/** The inode of a number in a snapshot. @throws as BtreeView.keys and inodeOfKey do, unless `onDamage` is given */
export function readInode(
  source: FilesystemSource,
  table: SnapshotTable,
  snapshot: number,
  inum: bigint,
  { onDamage }: DamageOptions = {},
): FoundInode | undefined {
  const pos = Uint32Array.of(snapshot, Number(inum & 0xffff_ffffn), Number(inum >> 32n), 0, 0);
  const key = visibleKeyAt(source.btree('inodes'), table, snapshot, pos, { onDamage });
  const inode = key === undefined ? undefined : inodeOfKey(key, onDamage);
  return key === undefined || inode === undefined ? undefined : { inode, keySnapshot: bposSnapshot(key.k.p) };
}
