// Superblocks with a few changes, at random or at fields that mean something. Those that change fields are sealed again: only they get past
// the checksum.

import {
  BchMember,
  BchSb,
  checksumTypes,
  sbBits,
  sealVstruct,
  superblockBytes,
  viewOf,
} from '@bcachefs-ts/core/engine';
import type { Random } from '../support/random.ts';

const EXTREMES = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  1n << 53n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];

/** Changes a few bytes, at random or where lengths are; half of them sealed again. */
export function mutate(original: Uint8Array, random: Random): Uint8Array {
  const bytes = original.slice();
  const view = viewOf(bytes);
  for (let changes = 1 + random.below(6); changes > 0; changes--) {
    const at = random.below(3) === 0 ? random.below(bytes.length) : 752 + random.below(Math.max(1, bytes.length - 752));
    switch (random.below(5)) {
      case 0:
        bytes[at]! ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
        break;
      case 2:
        if (at + 8 <= bytes.length) view.setBigUint64(at, random.pick(EXTREMES), true);
        break;
      case 3:
        if (at + 4 <= bytes.length) view.setUint32(at & ~3, Number(random.pick(EXTREMES) & 0xffff_ffffn), true);
        break;
      default: {
        const from = random.below(bytes.length);
        bytes.copyWithin(at, from, from + random.below(64));
      }
    }
  }
  return random.below(2) === 0 ? bytes : resealed(bytes);
}

/** With its checksum computed again, where the length that it claims allows that. */
function resealed(bytes: Uint8Array): Uint8Array {
  const view = viewOf(bytes);
  const size = superblockBytes(view, 0);
  const type = Number((view.getBigUint64(BchSb.offset.flags, true) >> 2n) & 0x3fn);
  const row = checksumTypes.byId(type);
  if (size <= bytes.length && row !== undefined && !row.isEncryption) sealVstruct(type, bytes.subarray(0, size));
  return bytes;
}

/** Changes one to three fields of the header, of its flags or of a member, and seals it. */
export function mutateFields(original: Uint8Array, random: Random): Uint8Array {
  const bytes = original.slice();
  const view = viewOf(bytes);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const kind = random.below(8);
    if (kind < 4) changeFlags(view, random);
    else if (kind < 6) changeMember(view, random);
    else changeField(view, random.pick(HEADER_FIELDS), random);
  }
  return resealed(bytes);
}

function changeFlags(view: DataView, random: Random): void {
  const { word, lo, hi } = random.pick(Object.values(sbBits));
  const at = BchSb.offset.flags + 8 * word;
  const mask = (1n << BigInt(hi - lo)) - 1n;
  const value = random.pick([0n, 1n, mask, mask >> 1n, BigInt(random.below(2 ** 32)), BigInt(random.below(16))]) & mask;
  view.setBigUint64(at, (view.getBigUint64(at, true) & ~(mask << BigInt(lo))) | (value << BigInt(lo)), true);
}

const HEADER_FIELDS = [
  { at: BchSb.offset.version, size: 2 },
  { at: BchSb.offset.version_min, size: 2 },
  { at: BchSb.offset.seq, size: 8 },
  { at: BchSb.offset.block_size, size: 2 },
  { at: BchSb.offset.dev_idx, size: 1 },
  { at: BchSb.offset.nr_devices, size: 1 },
  { at: BchSb.offset.time_base_lo, size: 8 },
  { at: BchSb.offset.time_precision, size: 4 },
  { at: BchSb.offset.write_time, size: 8 },
  { at: BchSb.offset.features, size: 8 },
  { at: BchSb.offset.compat, size: 8 },
  // Of the layout: how many copies, how large, and where.
  { at: BchSb.offset.layout + 17, size: 1 },
  { at: BchSb.offset.layout + 18, size: 1 },
  { at: BchSb.offset.layout + 24, size: 8 },
  { at: BchSb.offset.layout + 32, size: 8 },
  { at: BchSb.offset.layout + 40, size: 8 },
] as const;

function changeField(
  view: DataView,
  { at, size }: { readonly at: number; readonly size: number },
  random: Random,
): void {
  const value = random.pick([...EXTREMES, BigInt(random.below(256)), BigInt(random.below(2 ** 32))]);
  if (size === 8) view.setBigUint64(at, value, true);
  else if (size === 4) view.setUint32(at, Number(value & 0xffff_ffffn), true);
  else if (size === 2) view.setUint16(at, Number(value & 0xffffn), true);
  else view.setUint8(at, Number(value & 0xffn));
}

const MEMBERS_V2 = 11;
const MEMBER_FIELDS = [
  { at: BchMember.offset.uuid, size: 8 },
  { at: BchMember.offset.nbuckets, size: 8 },
  { at: BchMember.offset.first_bucket, size: 2 },
  { at: BchMember.offset.bucket_size, size: 2 },
  { at: BchMember.offset.btree_bitmap_shift, size: 1 },
  { at: BchMember.offset.flags, size: 8 },
  { at: BchMember.offset.seq, size: 8 },
  { at: BchMember.offset.btree_allocated_bitmap, size: 8 },
  { at: BchMember.offset.last_journal_bucket, size: 4 },
] as const;

/** Of the first two members, in members_v2. */
function changeMember(view: DataView, random: Random): void {
  const end = Math.min(view.byteLength, superblockBytes(view, 0));
  for (let at: number = BchSb.size; at + 8 <= end; ) {
    const lengthBytes = 8 * view.getUint32(at, true);
    if (lengthBytes === 0) return;
    if (view.getUint32(at + 4, true) === MEMBERS_V2) {
      const memberBytes = view.getUint16(at + 8, true);
      const member = at + 16 + memberBytes * random.below(2);
      const field = random.pick(MEMBER_FIELDS);
      if (member + field.at + field.size <= Math.min(end, at + lengthBytes)) {
        changeField(view, { ...field, at: member + field.at }, random);
      }
      return;
    }
    at += lengthBytes;
  }
}
