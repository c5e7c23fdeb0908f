// What files want of their data: their own options, else the filesystem's. Shared extents have no file of their own. A key of a snapshot
// belongs to the inode as that snapshot sees it.
// Source: bch2_move_get_io_opts and bch2_move_get_io_opts_one in move.c, v1.13.0.

import type { FilesystemSource } from '../btree/source.ts';
import { type IoOptions, ioOptionsOf } from '../data/io-options.ts';
import { inodeOfKey } from '../fs/inode.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeyAt } from '../snapshots/visible.ts';

export interface DataWishes extends IoOptions {
  /** Where data rests, as a target option; 0 for anywhere. */
  readonly target: number;
}

const KNOWN_MAX = 4096;

export class DataOptions {
  readonly #source: FilesystemSource;
  readonly #common: DataWishes;
  readonly #known = new Map<string, DataWishes>();
  readonly #extents = btrees.idOf('extents');
  #table: SnapshotTable | undefined;

  constructor(source: FilesystemSource) {
    this.#source = source;
    this.#common = restingAt(ioOptionsOf(source.sb));
  }

  of(btree: number, { k: { p } }: Key): DataWishes {
    if (btree !== this.#extents) return this.#common;
    const name = `${p[4]}:${p[3]}:${p[0]}`;
    let wishes = this.#known.get(name);
    if (wishes === undefined) {
      wishes = this.#read(p);
      if (this.#known.size >= KNOWN_MAX) this.#known.clear();
      this.#known.set(name, wishes);
    }
    return wishes;
  }

  #read(p: Bpos): DataWishes {
    // What contradicts itself there is met again by whom it concerns.
    this.#table ??= SnapshotTable.read(this.#source, { onDamage: () => {} });
    const pos = Uint32Array.of(p[0]!, p[3]!, p[4]!, 0, 0);
    const key = visibleKeyAt(this.#source.btree('inodes'), this.#table, p[0]!, pos);
    // What cannot be unpacked has no options of its own.
    const inode = key === undefined ? undefined : inodeOfKey(key, () => {});
    return inode === undefined ? this.#common : restingAt(ioOptionsOf(this.#source.sb, inode));
  }
}

const restingAt = (options: IoOptions): DataWishes => ({
  ...options,
  target: options.backgroundTarget || options.foregroundTarget,
});
