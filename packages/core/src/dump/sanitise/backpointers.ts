// An inode knows where the dirent is that leads to it (bi_dir, bi_dir_offset). When dirents move, that is changed inside of the inode's
// value, in as many bytes as it had: varints need not be as short as they could be.

import { inodeFields, inodeFieldsV2 } from '../../ondisk/inode-tables.ts';
import { BchInode, BchInodeV2, BchInodeV3 } from '../../ondisk/inode-unpack.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { viewOf } from '../../ondisk/layout.ts';
import { VarintReader } from '../../ondisk/varint.ts';

const INODE = keyTypes.idOf('inode');
const INODE_V2 = keyTypes.idOf('inode_v2');
const INODE_V3 = keyTypes.idOf('inode_v3');

const NR_FIELDS_SHIFT = 24;
const NR_FIELDS_MASK = 127;
const NEW_VARINT = 0x8000_0000;

/** @param move old offset of a dirent to new one, whose varint is not longer */
export function moveBackpointer(
  type: number,
  value: Uint8Array,
  move: (directory: bigint, offset: bigint) => bigint,
): void {
  const fields = fieldsOf(type, value);
  if (fields === undefined) return;
  const { rows, start, flags } = fields;
  const count = Math.min((flags >>> NR_FIELDS_SHIFT) & NR_FIELDS_MASK, rows.length);
  const reader = new VarintReader(value, start);
  let directory = 0n;
  for (let i = 0; i < count; i++) {
    const { name, bits } = rows[i]!;
    const at = reader.at;
    if (!reader.next()) return;
    const found = (BigInt(reader.hi) << 32n) | BigInt(reader.lo);
    const end = reader.at;
    if (bits > 64 && !reader.next()) return;
    if (name === 'bi_dir') directory = found;
    if (name !== 'bi_dir_offset') continue;
    // 0 when it is not known.
    if (found !== 0n) putVarint(value, at, end - at, move(directory, found));
    return;
  }
}

function fieldsOf(type: number, value: Uint8Array) {
  const view = viewOf(value);
  if (type === INODE_V3 && value.length >= BchInodeV3.size) {
    return { rows: inodeFields.rows, start: BchInodeV3.size, flags: view.getUint32(BchInodeV3.offset.bi_flags, true) };
  }
  if (type === INODE_V2 && value.length >= BchInodeV2.size) {
    return {
      rows: inodeFieldsV2.rows,
      start: BchInodeV2.size,
      flags: view.getUint32(BchInodeV2.offset.bi_flags, true),
    };
  }
  if (type !== INODE || value.length < BchInode.size) return undefined;
  const flags = view.getUint32(BchInode.offset.bi_flags, true);
  // Those with the older integers are from before what nodes may hold today.
  return (flags & NEW_VARINT) === 0 ? undefined : { rows: inodeFieldsV2.rows, start: BchInode.size, flags };
}

/** Stores an integer in exactly so many bytes, 1 to 9; it fits. */
function putVarint(target: Uint8Array, at: number, length: number, value: bigint): void {
  const isWhole = length === 9;
  let rest = isWhole ? value : (value << BigInt(length)) | ((1n << BigInt(length - 1)) - 1n);
  if (isWhole) target[at] = 255;
  for (let i = isWhole ? 1 : 0; i < length; i++) {
    target[at + i] = Number(rest & 255n);
    rest >>= 8n;
  }
}
