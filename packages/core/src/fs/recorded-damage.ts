// What a filesystem has recorded as damaged: kernels from 1.39 on note in the btree `damage` which errors, and repairs of them, have cost a file
// something. A snapshot has what its ancestors had recorded, until it is cleared there.
// Source: bch2_inode_has_damage in init/damage.c, v1.39.2.

import type { FilesystemSource } from '../btree/source.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { damage } from '../ondisk/keys/damage.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { ErrorCount } from '../ondisk/sb-fields/errors.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../snapshots/visible.ts';
import type { FileNode } from './file-tree.ts';

const DAMAGE = keyTypes.idOf('damage');

export class RecordedDamage {
  readonly #source: FilesystemSource;
  readonly #table: SnapshotTable;

  constructor(source: FilesystemSource, table: SnapshotTable) {
    this.#source = source;
    this.#table = table;
  }

  /** Nothing is recorded of any file. @throws CorruptError, DeviceError when that cannot be read */
  get isEmpty(): boolean {
    for (const { k } of this.#source.btree('damage').keys()) if (k.type === DAMAGE) return false;
    return true;
  }

  /** The errors that are recorded of a file, by their numbers. @throws as isEmpty */
  of({ inum, snapshot }: Pick<FileNode, 'inum' | 'snapshot'>): readonly ErrorCount[] {
    const pos = makeBpos(0n, inum, snapshot);
    const key = visibleKeyAt(this.#source.btree('damage'), this.#table, snapshot, pos);
    return key?.k.type === DAMAGE ? damage.decode(key.value).entries : [];
  }
}
