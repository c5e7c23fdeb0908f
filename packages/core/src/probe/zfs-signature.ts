// ZFS: four labels of 256 KiB, two at each end. Each holds an XDR list of the pool's names and numbers at 16 KiB and a ring of
// uberblocks from 128 KiB on. Newer tools know a pool by the list, older ones by the uberblocks: both are found and wiped.

import type { ByteRange } from '../device/block-device.ts';
import { roundDown } from '../util/sizes.ts';
import { hex, type ProbeReader, printable, type Signature, type Superblock, signature } from './signature.ts';

const KIB = 1024;
const LABEL_BYTES = 256 * KIB;
const LIST_AT = 16 * KIB;
const LIST_BYTES = 112 * KIB;
const LIST_HEADER_BYTES = 16;
const RING_AT = 128 * KIB;
const UBERBLOCK_BYTES = 1 * KIB; // at least; larger ones begin at multiples
const MIN_UBERBLOCKS = 4;
const MIN_DEVICE_BYTES = 64 * KIB * KIB;
const UBERBLOCK_MAGICS = [hex('0cb1ba0000000000'), hex('0000000000bab10c')];

const TYPE_UINT64 = 8;
const TYPE_STRING = 9;

export function findZfs(reader: ProbeReader): Signature[] {
  if (reader.sizeBytes < MIN_DEVICE_BYTES) return [];
  const end = roundDown(reader.sizeBytes, LABEL_BYTES);
  const labels = [0, LABEL_BYTES, end - 2 * LABEL_BYTES, end - LABEL_BYTES];

  const lists: ByteRange[] = [];
  const uberblocks: ByteRange[] = [];
  let pool: Pool = {};
  for (const label of labels) {
    const list = reader.superblock(label + LIST_AT, LIST_BYTES);
    const found = list === undefined ? undefined : poolOf(list);
    if (found !== undefined) {
      lists.push({ offset: label + LIST_AT, length: LIST_HEADER_BYTES });
      pool = { ...found, ...pool };
    }
    for (let at = RING_AT; at < LABEL_BYTES; at += UBERBLOCK_BYTES) {
      if (UBERBLOCK_MAGICS.some(magic => reader.has(label + at, magic.bytes))) {
        uberblocks.push({ offset: label + at, length: 8 });
      }
    }
  }
  if (lists.length === 0 && uberblocks.length < MIN_UBERBLOCKS) return [];
  const details = { version: pool.version, label: pool.name, uuid: pool.guid };
  return [signature('volume-manager', 'zfs_member', details, [...lists, ...uberblocks])];
}

interface Pool {
  readonly name?: string;
  readonly guid?: string;
  readonly version?: string;
}

/** The pool's facts, or undefined when this is not a list of a pool. Ends: every step goes forward by the pair's own size, at least 20 bytes. */
function poolOf(list: Superblock): Pool | undefined {
  // Encoding XDR; byte order of the writer, which XDR does not care for.
  if (list.u8(0) !== 1 || list.u8(1) > 1) return undefined;
  const pool: { name?: string; guid?: string; version?: string } = {};
  let at = 12;
  while (at + 20 <= list.bytes.length) {
    const pairBytes = list.be32(at);
    const nameLength = list.be32(at + 8);
    const typeAt = at + 12 + Math.ceil(nameLength / 4) * 4;
    if (pairBytes < 20 || at + pairBytes > list.bytes.length || typeAt + 16 > at + pairBytes) break;
    const name = list.text(at + 12, nameLength);
    const type = list.be32(typeAt);
    if (name === 'name' && type === TYPE_STRING) {
      const label = printable(list.text(typeAt + 12, Math.min(list.be32(typeAt + 8), 256)) ?? '');
      if (label !== undefined) pool.name = label;
    }
    if (name === 'pool_guid' && type === TYPE_UINT64) pool.guid = `${list.be64(typeAt + 8)}`;
    if (name === 'version' && type === TYPE_UINT64) pool.version = `${list.be64(typeAt + 8)}`;
    at += pairBytes;
  }
  return pool.guid === undefined && pool.name === undefined ? undefined : pool;
}
