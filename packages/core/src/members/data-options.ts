// What files want of their data: how many copies, and where.

import type { FilesystemSource } from '../btree/source.ts';
import { inodeOfKey } from '../fs/inode.ts';
import type { Key } from '../ondisk/bkey.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { inodeOption } from '../ondisk/inode-unpack.ts';
import { optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import type { Superblock } from '../ondisk/superblock.ts';

const KNOWN_MAX = 4096;

export const fsOption = (
  sb: Superblock,
  name: 'data_replicas' | 'metadata_replicas' | 'foreground_target' | 'background_target',
) => Number(optionFromSuperblock(option(name), sb, 0n, rulesOf(sb).release));

export interface DataWishes {
  readonly replicas: number;
  /** Where data rests; 0 for anywhere. */
  readonly target: number;
}

/** What files want of their data: their own options, else the filesystem's. Shared extents have no file of their own. */
export class DataOptions {
  readonly #source: FilesystemSource;
  readonly #common: DataWishes;
  readonly #known = new Map<string, DataWishes>();
  readonly #extents = btrees.idOf('extents');

  constructor(source: FilesystemSource) {
    this.#source = source;
    const { sb } = source;
    const target = fsOption(sb, 'background_target') || fsOption(sb, 'foreground_target');
    this.#common = { replicas: fsOption(sb, 'data_replicas'), target };
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
    const from = Uint32Array.of(p[0]!, p[3]!, p[4]!, 0, 0);
    const to = Uint32Array.of(0xffff_ffff, p[3]!, p[4]!, 0, 0);
    const key = this.#source.btree('inodes').first(from, to);
    // What cannot be unpacked has no options of its own.
    const inode = key === undefined ? undefined : inodeOfKey(key, () => {});
    if (inode === undefined) return this.#common;
    return {
      replicas: inodeOption(inode, 'data_replicas') ?? this.#common.replicas,
      target:
        (inodeOption(inode, 'background_target') || inodeOption(inode, 'foreground_target')) ?? this.#common.target,
    };
  }
}
