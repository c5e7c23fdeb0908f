// Copies of data and replicas of nodes that are damaged on their devices, so that of each at least one stays good, or on purpose none.

import {
  type BlockDevice,
  btreePtrPlaces,
  btrees,
  decodeExtentEntries,
  type Filesystem,
  getBits,
  type Key,
  readBytes,
  sbBits,
  sectorsToBytes,
} from '@bcachefs-ts/core/engine';
import { replicasOf } from '../../packages/core/src/data/replicas.ts';
import { keyTypes } from '../../packages/core/src/ondisk/keys/key-types.ts';
import { BchReflinkV } from '../../packages/core/src/ondisk/keys/reflink-v.ts';
import type { Random } from './random.ts';

export interface CopyOnDisk {
  /** The key, or the node, that it is a copy of. */
  readonly of: string;
  readonly isNode: boolean;
  readonly isCached: boolean;
  readonly dev: number;
  readonly offset: number;
  readonly length: number;
}

const ENTRIES_AT = new Map<number, number>([
  [keyTypes.idOf('extent'), 0],
  [keyTypes.idOf('reflink_v'), BchReflinkV.size],
]);

/** Every copy of data, by its key. */
export function dataCopies(filesystem: Filesystem): readonly (readonly CopyOnDisk[])[] {
  return (['extents', 'reflink'] as const).flatMap(btree =>
    [...filesystem.btree(btree).keys()].flatMap((key: Key) => {
      const start = ENTRIES_AT.get(key.k.type);
      if (start === undefined) return [];
      const replicas = replicasOf(decodeExtentEntries(key.value.subarray(start)), key.k);
      if (replicas.some(({ ptr }) => ptr.unwritten)) return [];
      const of = `${btree} ${key.k.p}`;
      return [
        replicas.map(({ ptr, encoding }) => ({
          of,
          isNode: false,
          isCached: ptr.cached,
          dev: ptr.dev,
          offset: sectorsToBytes(ptr.offset),
          length: sectorsToBytes(encoding.compressedSectors),
        })),
      ];
    }),
  );
}

/** Every replica of every node, by its pointer. */
export function nodeCopies(filesystem: Filesystem): readonly (readonly CopyOnDisk[])[] {
  const nodeSectors = getBits(filesystem.sb.flags, sbBits.BTREE_NODE_SIZE);
  return [...filesystem.replay.roots].flatMap(([id, root]) => {
    if (root.key === undefined) return [];
    const pointers: { level: number; key: Key }[] = [{ level: root.level, key: root.key }];
    for (let level = root.level; level > 0; level--)
      for (const key of filesystem.btree(id).keys({ level })) pointers.push({ level: level - 1, key });
    return pointers.map(({ level, key }) => {
      const { replicas, sectorsWritten } = btreePtrPlaces(id, level, key);
      return replicas.map(({ dev, offset }) => ({
        of: `${btrees.nameOf(id)} level ${level} ${key.k.p}`,
        isNode: true,
        isCached: false,
        dev,
        offset: sectorsToBytes(offset),
        length: sectorsToBytes(sectorsWritten || nodeSectors),
      }));
    });
  });
}

/**
 * Which copies to damage, so that each keeps one that is not. Keys that show parts of one encoded extent share its copies.
 * @param percent how many of a hundred are to lose some
 */
export function chooseCopies(
  all: readonly (readonly CopyOnDisk[])[],
  random: Random,
  percent: number,
): readonly CopyOnDisk[] {
  const chosen = new Map<string, CopyOnDisk>();
  const kept = new Set<string>();
  const place = ({ dev, offset }: CopyOnDisk) => `${dev}:${offset}`;
  for (const copies of all) {
    for (const copy of copies) {
      if (random.below(100) >= percent || kept.has(place(copy)) || chosen.has(place(copy))) continue;
      const rest = copies.filter(other => other !== copy && !other.isCached && !chosen.has(place(other)));
      if (rest.length === 0) continue;
      kept.add(place(random.pick(rest)));
      if (kept.has(place(copy))) continue;
      chosen.set(place(copy), copy);
    }
    // What is not damaged for this key is not damaged for another.
    if (copies.some(copy => chosen.has(place(copy)))) {
      const rest = copies.filter(copy => !copy.isCached && !chosen.has(place(copy)));
      if (rest.every(copy => !kept.has(place(copy)))) kept.add(place(rest[0]!));
    }
  }
  return [...chosen.values()];
}

const NODE_HEADER_BYTES = 120;

/** Overwrites, zeroes or flips something inside of a copy, so that it is another one. */
export function spoil(
  devices: readonly BlockDevice[],
  { dev, offset, length, isNode }: CopyOnDisk,
  random: Random,
): void {
  const device = devices[dev];
  if (device === undefined) throw new Error(`there is no device ${dev}`);
  // What follows the last key of a bset has no checksum.
  const at = random.below(isNode ? NODE_HEADER_BYTES : length);
  const kind = random.below(3);
  const bytes = readBytes(device, offset, length);
  if (kind === 0) bytes[at] = bytes[at]! ^ (1 << random.below(8));
  else {
    const end = Math.min(length, at + 1 + random.below(5000));
    for (let i = at; i < end; i++) bytes[i] = kind === 1 ? random.below(256) : ~bytes[i]! & 0xff;
    bytes[at] = ~bytes[at]! & 0xff;
  }
  device.write(offset, bytes);
}
