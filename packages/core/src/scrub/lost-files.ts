// Which files lose something when no copy of a key's data is good: all paths, in all subvolumes and snapshots that see the key, and of what
// is shared by reflinks those of every file that shares it. Pointers into lost indirect extents are looked for in one walk over all extents,
// for as many of these as there are.

import { FileFinder } from '../explain/files-of.ts';
import type { FilePath } from '../fs/paths.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposInode, bposOffset, bposSnapshot, bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Finding } from '../report/finding.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';

/** A run of a file that no copy gives any more. Offset and length are bytes. */
export interface LostRun {
  readonly kind: 'lost';
  readonly btree: string;
  /** Of the key whose data it is. */
  readonly pos: string;
  /** Why its best copy is not one. */
  readonly damage: Finding;
  readonly inum: bigint | undefined;
  readonly snapshot: number | undefined;
  readonly offset: number;
  readonly length: number;
  /** None where no subvolume sees it, or no file points to it. */
  readonly files: readonly LostFile[];
}

export interface LostFile {
  readonly subvolume: number;
  readonly paths: readonly FilePath[];
}

export interface LostKey {
  readonly btree: number;
  readonly key: Pick<Key, 'k'>;
  readonly damage: Finding;
}

const EXTENTS = btrees.idOf('extents');
const REFLINK_P = keyTypes.idOf('reflink_p');

export class LostFiles {
  readonly #source: Filesystem;
  readonly #finder: FileFinder;

  constructor(source: Filesystem) {
    this.#source = source;
    // What is damaged of the metadata was said when it was read.
    this.#finder = new FileFinder(source, () => {}, {
      filesMax: Number.POSITIVE_INFINITY,
      subvolumesMax: Number.POSITIVE_INFINITY,
    });
  }

  /** @param lost keys of extents and of indirect extents, each btree's in the order of its keys */
  *of(lost: readonly LostKey[]): Generator<LostRun, void, void> {
    for (const one of lost) if (one.btree === EXTENTS) yield this.#ofExtent(one);
    const indirect = lost.filter(({ btree }) => btree !== EXTENTS);
    if (indirect.length > 0) yield* this.#ofIndirect(indirect);
  }

  #ofExtent({ key: { k }, damage }: LostKey): LostRun {
    const length = k.size * SECTOR_BYTES;
    return {
      kind: 'lost',
      btree: 'extents',
      pos: bposText(k.p),
      damage,
      inum: bposInode(k.p),
      snapshot: bposSnapshot(k.p),
      offset: Number(bposOffset(k.p)) * SECTOR_BYTES - length,
      length,
      files: this.#filesOf({ k, value: NO_VALUE }),
    };
  }

  #filesOf(key: Key): LostFile[] {
    const { list } = this.#finder.ofExtent(key, { byte: undefined });
    return list.map(({ subvolume, paths }) => ({ subvolume, paths }));
  }

  *#ofIndirect(lost: readonly LostKey[]): Generator<LostRun, void, void> {
    const runs = lost.map(one => {
      const end = Number(bposOffset(one.key.k.p));
      return { ...one, start: end - one.key.k.size, end, isPointedTo: false };
    });
    for (const pointer of this.#source.btree('extents').keys({ onDamage: () => {} })) {
      const { k, value } = pointer;
      if (k.type !== REFLINK_P || value.length < reflinkP.minBytes) continue;
      const first = Number(reflinkP.decode(value).idx);
      for (let nr = firstEndingAfter(runs, first); nr < runs.length; nr++) {
        const run = runs[nr]!;
        if (run.start >= first + k.size) break;
        run.isPointedTo = true;
        const from = Math.max(run.start, first);
        const until = Math.min(run.end, first + k.size);
        const startInFile = Number(bposOffset(k.p)) - k.size + from - first;
        yield {
          kind: 'lost',
          btree: 'reflink',
          pos: bposText(run.key.k.p),
          damage: run.damage,
          inum: bposInode(k.p),
          snapshot: bposSnapshot(k.p),
          offset: startInFile * SECTOR_BYTES,
          length: (until - from) * SECTOR_BYTES,
          files: this.#filesOf(pointer),
        };
      }
    }
    for (const { isPointedTo, key, damage, start, end } of runs) {
      if (isPointedTo) continue;
      yield {
        kind: 'lost',
        btree: 'reflink',
        pos: bposText(key.k.p),
        damage,
        inum: undefined,
        snapshot: undefined,
        offset: start * SECTOR_BYTES,
        length: (end - start) * SECTOR_BYTES,
        files: [],
      };
    }
  }
}

const NO_VALUE = new Uint8Array(0);

/** The first of the runs, which are in order, that ends after a sector. */
function firstEndingAfter(runs: readonly { readonly end: number }[], sector: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (runs[middle]!.end > sector) high = middle;
    else low = middle + 1;
  }
  return low;
}
