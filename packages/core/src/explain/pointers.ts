// From a sector of a device to the keys that point to it. The backpointers btree answers at once, but it is only an index: what it says is
// checked against the key, and it is not believed where the bucket's own count of sectors is greater than what it accounts for.
// Then all pointers of the filesystem are looked through.
// Sources: backpointers.c and struct bch_backpointer, v1.13.0; alloc/backpointers.c, v1.39.2.

import { entriesOf, type PointerParts, pointerParts } from '../check/pointers.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText, compareBpos, makeBpos } from '../ondisk/bpos.ts';
import { BTREE_ID_MAX, BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import type { Alloc } from '../ondisk/keys/alloc-bucket.ts';
import { type Backpointer, backpointer, backpointerSector } from '../ondisk/keys/backpointer.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';

/** A key with a pointer that covers the sector. */
export interface Owner {
  readonly btree: number;
  /** Of the key: 0 for data, above for the pointer to a node. */
  readonly level: number;
  readonly isRoot: boolean;
  readonly key: Key;
  readonly pointer: PointerParts;
  readonly replica: { readonly nr: number; readonly count: number };
}

export interface OwnerSearch {
  readonly owners: readonly Owner[];
  readonly searched: 'backpointers' | 'scan';
  readonly notices: readonly string[];
}

const BACKPOINTER = keyTypes.idOf('backpointer');
/** Backpointers of one bucket that are followed: one sector each, and some more for compressed extents. */
const BACKPOINTERS_MAX = 65_536;
/** Faults of the index that are reported one by one. */
const NOTICES_MAX = 8;

/** What a pointer takes of its device, in sectors: all that one checksum covers. */
export const pointedSectors = (key: Key, { crc }: PointerParts): number => crc?.compressed_size ?? key.k.size;

/** A sector of a member, and the bucket that it is in. */
export interface SectorPlace {
  readonly dev: number;
  readonly sector: number;
  readonly bucketStart: number;
  readonly bucketSectors: number;
}

/**
 * The keys that own a sector.
 * @param alloc the bucket's; undefined where there is none or it was lost
 * @param forceScan do not look at backpointers at all
 */
export function findOwners(
  source: Filesystem,
  place: SectorPlace,
  alloc: Alloc | undefined,
  { forceScan, onDamage }: { readonly forceScan: boolean; readonly onDamage: (damage: Damage) => void },
): OwnerSearch {
  const notices: string[] = [];
  if (!forceScan && source.btree('backpointers').root !== undefined) {
    const found = byBackpointers(source, place, onDamage);
    notices.push(...found.faults);
    const counted = alloc === undefined || isUnindexed(alloc) ? 0 : alloc.dirty_sectors + alloc.cached_sectors;
    const isWhole = found.faults.length === 0 && (found.accounted >= counted || found.owners.length > 0);
    if (isWhole) return { owners: found.owners, searched: 'backpointers', notices };
    // Until 1.14 cached copies have no backpointers.
    if (found.faults.length === 0 && found.accounted < counted - (alloc?.cached_sectors ?? 0)) {
      notices.push(
        `backpointers account for ${found.accounted} of the bucket's ${counted} sectors: all pointers were looked through`,
      );
    }
  }
  const owners = byScan(source, place, onDamage);
  return { owners, searched: 'scan', notices };
}

const UNINDEXED: readonly number[] = (['sb', 'journal', 'parity'] as const).map(name => dataTypes.idOf(name));

/** Sectors of the bucket that no key of an extent or a node stands for. */
const isUnindexed = ({ data_type }: Alloc): boolean => UNINDEXED.includes(data_type);

function byBackpointers(
  source: Filesystem,
  { dev, sector, bucketStart, bucketSectors }: SectorPlace,
  onDamage: (damage: Damage) => void,
): { readonly owners: readonly Owner[]; readonly accounted: number; readonly faults: readonly string[] } {
  const rules = rulesOf(source.sb);
  const shift = BigInt(rules.backpointerShift);
  const faults: string[] = [];
  const fault = (text: string) => {
    if (faults.length < NOTICES_MAX) faults.push(text);
  };
  const owners: Owner[] = [];
  let accounted = 0;
  let count = 0;
  const walk = {
    from: makeBpos(BigInt(dev), BigInt(bucketStart) << shift, 0),
    to: makeBpos(BigInt(dev), (BigInt(bucketStart + bucketSectors) << shift) - 1n, 0xffff_ffff),
    onDamage: (damage: Damage) => {
      fault(`the backpointers of this bucket may be lost: ${damage.message}`);
      onDamage(damage);
    },
  };
  for (const { k, value } of source.btree('backpointers').keys(walk)) {
    if (k.type !== BACKPOINTER || value.length < backpointer.minBytes) continue;
    if (++count > BACKPOINTERS_MAX) {
      fault(`more than ${BACKPOINTERS_MAX} backpointers in one bucket`);
      break;
    }
    const bp = backpointer.decode(value);
    accounted += bp.bucket_len;
    const start = backpointerSector(k.p, rules);
    // What one checksum covers begins at the backpointer and may reach farther than it says.
    if (start > sector) continue;
    const found = follow(source, bp, dev, onDamage);
    if (found === undefined) {
      const target = `${btrees.nameOf(bp.btree_id)} ${bposText(bp.pos)} level ${bp.level}`;
      fault(
        `the backpointer of sector ${start} leads to ${target}, where no key points back: all pointers were looked through`,
      );
      continue;
    }
    for (const owner of ownersIn(source, found, dev, sector)) {
      if (!owners.some(other => isSame(other, owner))) owners.push(owner);
    }
  }
  return { owners, accounted, faults };
}

interface FoundKey {
  readonly btree: number;
  readonly level: number;
  readonly isRoot: boolean;
  readonly key: Key;
}

/** The key that a backpointer leads to, if it points to the device. */
function follow(
  source: Filesystem,
  bp: Backpointer,
  dev: number,
  onDamage: (damage: Damage) => void,
): FoundKey | undefined {
  const { btree_id: btree, level, pos } = bp;
  if (btree >= BTREE_ID_MAX || level > BTREE_MAX_DEPTH) return undefined;
  const view = source.btree(btree);
  const { root } = view;
  const isRoot = root?.key !== undefined && level === root.level + 1 && compareBpos(root.key.k.p, pos) === 0;
  let key = isRoot ? root.key : undefined;
  if (!isRoot) for (const found of view.keys({ from: pos, to: pos, level, onDamage })) key = found;
  if (key === undefined) return undefined;
  // A stripe has its blocks in place of extent entries: see stripe-place.ts.
  const pointsThere =
    btrees.nameOf(btree) === 'stripes' || pointerParts(entriesOf(key)).some(({ ptr }) => ptr.dev === dev);
  return pointsThere ? { btree, level, isRoot, key } : undefined;
}

/** The pointers of a key that cover a sector. */
function* ownersIn(source: Filesystem, found: FoundKey, dev: number, sector: number): Generator<Owner> {
  const parts = pointerParts(entriesOf(found.key));
  for (const [nr, pointer] of parts.entries()) {
    const { ptr } = pointer;
    if (ptr.dev !== dev || sector < ptr.offset) continue;
    const length = found.level > 0 ? source.reader.nodeSectors : pointedSectors(found.key, pointer);
    if (sector >= ptr.offset + length) continue;
    yield { ...found, pointer, replica: { nr, count: parts.length } };
  }
}

const isSame = (a: Owner, b: Owner): boolean =>
  a.btree === b.btree &&
  a.level === b.level &&
  a.replica.nr === b.replica.nr &&
  compareBpos(a.key.k.p, b.key.k.p) === 0;

/** All pointers of the filesystem. Interior nodes are read for it, and the leaves of extents and reflink. */
function byScan(
  source: Filesystem,
  { dev, sector }: SectorPlace,
  onDamage: (damage: Damage) => void,
): readonly Owner[] {
  const owners: Owner[] = [];
  for (const { btree, level, key: root } of source.replay.roots.values()) {
    if (root !== undefined) {
      owners.push(...ownersIn(source, { btree, level: level + 1, isRoot: true, key: root }, dev, sector));
    }
    for (let at = Math.min(level, BTREE_MAX_DEPTH); at > 0; at--) {
      for (const key of source.btree(btree).keys({ level: at, onDamage })) {
        owners.push(...ownersIn(source, { btree, level: at, isRoot: false, key }, dev, sector));
      }
    }
  }
  for (const name of ['extents', 'reflink'] as const) {
    const view = source.btree(name);
    for (const key of view.keys({ onDamage })) {
      owners.push(...ownersIn(source, { btree: view.id, level: 0, isRoot: false, key }, dev, sector));
    }
  }
  return owners;
}
