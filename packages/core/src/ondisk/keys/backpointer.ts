// Key type backpointer: from a place on a device to the key that points there. The key's position is the device and the sector, the
// latter shifted left: an extent that is compressed away to nothing still has sectors, and each gets a position of its own.
//
// Until 1.14 the bytes of bucket_gen and flags were one 40-bit number: where the extent starts in its bucket, shifted likewise. It is
// not lost now: the position says the same.
// Sources: struct bch_backpointer in bcachefs_format.h and backpointers.c, v1.13.0, v1.36.1 and v1.39.2.

import type { Bkey } from '../bkey.ts';
import { BPOS_WORDS, type Bpos, bpos, bposInode, bposOffset, bposText } from '../bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../btrees.ts';
import { at, layout, type Struct, u8, u32, viewOf } from '../layout.ts';
import { nameAt } from '../releases.ts';
import { dataTypeText } from '../replicas-entry.ts';
import { VERSION_MAX_READ, versionOf } from '../versions.ts';
import type { KeyFormat, KeyKind, KeyProblem, KeyValidateContext } from './kind.ts';

export const BchBackpointer = layout('bch_backpointer', 32, {
  btree_id: at(0, u8),
  level: at(1, u8), // of the key that points here, plus one for btree nodes
  data_type: at(2, u8),
  bucket_gen: at(3, u8), // since 1.14
  flags: at(4, u32), // since 1.14, see RECONCILE_PHYS
  bucket_len: at(8, u32), // sectors
  pos: at(12, bpos), // of the key that points here
});
export type Backpointer = Struct<typeof BchBackpointer>;

const AT = BchBackpointer.offset;

/** Bits of `flags`: what it points to is also in one of the reconcile btrees ordered by device, and in which. */
const RECONCILE_PHYS = 3;
/** Since 1.39: the key is a stripe, not an extent. */
const STRIPE_PTR = 8;

/** BCH_SB_EXTENT_BP_SHIFT_DEFAULT: what was fixed until 1.36. */
const EXTENT_BP_SHIFT_DEFAULT = 10;

/** BCH_SB_MEMBER_INVALID. */
const NO_DEVICE = 255n;

const BUCKET_GEN_SINCE = versionOf('backpointer_bucket_gen');

export const hasBucketOffset = (format: KeyFormat) => (format.version ?? VERSION_MAX_READ) < BUCKET_GEN_SINCE;

/** The 40-bit number of before 1.14: sectors from the start of the bucket, shifted. */
export function bucketOffset(value: Backpointer): number {
  return value.flags * 256 + value.bucket_gen;
}

/** What a position in the backpointers btree says. */
export interface BackpointerPos {
  readonly dev: number;
  readonly sector: bigint;
  /** Where in the uncompressed extent the pointer starts, in sectors. */
  readonly suboffset: number;
}

export function backpointerPos(pos: Bpos, format: KeyFormat): BackpointerPos {
  const shift = BigInt(Math.min(format.extentBpShift || EXTENT_BP_SHIFT_DEFAULT, 31)); // from the superblock: any byte
  const offset = bposOffset(pos);
  const suboffset = Number(offset & ((1n << shift) - 1n));
  return { dev: Number(bposInode(pos)), sector: offset >> shift, suboffset };
}

export const backpointer: KeyKind<Backpointer> = {
  name: 'backpointer',
  minBytes: BchBackpointer.size,
  // Member by member: there is one for each extent, and the layout's own way took three times as long.
  decode(value) {
    const view = viewOf(value);
    const pos = new Uint32Array(BPOS_WORDS);
    for (let i = 0; i < BPOS_WORDS; i++) pos[i] = view.getUint32(AT.pos + 4 * i, true);
    return {
      btree_id: view.getUint8(AT.btree_id),
      level: view.getUint8(AT.level),
      data_type: view.getUint8(AT.data_type),
      bucket_gen: view.getUint8(AT.bucket_gen),
      flags: view.getUint32(AT.flags, true),
      bucket_len: view.getUint32(AT.bucket_len, true),
      pos,
    };
  },
  encode(value) {
    const target = new Uint8Array(BchBackpointer.size);
    BchBackpointer.put(viewOf(target), 0, value);
    return target;
  },
  validate(value, k, context = {}) {
    const problems: KeyProblem[] = [];
    const old = hasBucketOffset(context) ? oldProblem(value, k, context) : undefined;
    if (old !== undefined) problems.push(old);
    if (value.level > BTREE_MAX_DEPTH) {
      problems.push({
        error: 'backpointer_level_bad',
        detail: `level ${value.level}, expected at most ${BTREE_MAX_DEPTH}`,
      });
    }
    if (bposInode(k.p) === NO_DEVICE)
      problems.push({ error: 'backpointer_dev_bad', detail: `device ${NO_DEVICE}, which stands for none` });
    return problems;
  },
  text(out, value, context, k) {
    const { dev, sector, suboffset } = backpointerPos(k.p, context);
    const inode = bposInode(k.p);
    const bucketSize = BigInt(context.device(dev)?.bucketSizeSectors ?? 0);
    if (bucketSize === 0n) out.print(`sector=${inode}:${sector} `);
    else out.print(`bucket=${inode}:${sector / bucketSize}:${sector % bucketSize} `);

    const { style = '1.36' } = context;
    const isOld = hasBucketOffset(context);
    const btree = btrees.byId(value.btree_id);
    out.print(`btree=${btree === undefined ? `(unknown btree ${value.btree_id})` : nameAt(style, btree)} `);
    out.print(`level=${value.level} data_type=${dataTypeText(value.data_type)} suboffset=${suboffset} `);
    out.print(`len=${value.bucket_len} gen=${isOld ? 0 : value.bucket_gen} pos=${bposText(value.pos)}`);
    if (isOld) return;
    if (value.flags & RECONCILE_PHYS) out.print(' phys');
    if (style === '1.39' && value.flags & STRIPE_PTR) out.print(' stripe');
  },
  json(value, k, format) {
    const { dev, sector, suboffset } = backpointerPos(k.p, format);
    return {
      dev,
      sector,
      suboffset,
      btree: btrees.nameOf(value.btree_id),
      level: value.level,
      data_type: dataTypeText(value.data_type),
      bucket_len: value.bucket_len,
      pos: bposText(value.pos),
      ...(hasBucketOffset(format)
        ? { bucket_offset: bucketOffset(value) }
        : { bucket_gen: value.bucket_gen, flags: value.flags }),
    };
  },
};

/** Until 1.14 the value repeated a part of the position. */
function oldProblem(value: Backpointer, k: Bkey, context: KeyValidateContext): KeyProblem | undefined {
  const { dev, sector, suboffset } = backpointerPos(k.p, context);
  const device = context.device?.(dev);
  if (device === undefined || device.bucketSizeSectors === 0) return undefined;
  const inBucket = Number(sector % BigInt(device.bucketSizeSectors));
  const expected = inBucket * 2 ** EXTENT_BP_SHIFT_DEFAULT + suboffset;
  const found = bucketOffset(value);
  if (found === expected) return undefined;
  return { error: 'backpointer_bucket_offset_wrong', detail: `bucket_offset ${found}, expected ${expected}` };
}
