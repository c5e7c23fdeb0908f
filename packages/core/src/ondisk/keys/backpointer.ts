// Key type backpointer: from a place on a device to the key that points there. The key's position is the device and the sector, the
// latter shifted left: an extent that is compressed away to nothing still has sectors, and each gets a position of its own.
//
// Until 1.14 the bytes of bucket_gen and flags were one 40-bit number: where the extent starts in its bucket, shifted likewise. It is
// not lost now: the position says the same.
// Sources: struct bch_backpointer in bcachefs_format.h and backpointers.c, v1.13.0, v1.36.1 and v1.39.2.

import type { Bkey } from '../bkey.ts';
import { BPOS_WORDS, type Bpos, bpos, bposInode, bposOffset, bposText } from '../bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../btrees.ts';
import { type FormatRules, rulesFor } from '../format-rules.ts';
import { at, layout, type Struct, u8, u32, viewOf } from '../layout.ts';
import { nameAt } from '../releases.ts';
import { dataTypeText } from '../replicas-entry.ts';
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

/** BCH_SB_MEMBER_INVALID. */
const NO_DEVICE = 255n;

export const hasBucketOffset = (format: KeyFormat): boolean => rulesFor(format).backpointerHolds === 'bucket_offset';

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
  const shift = BigInt(rulesFor(format).backpointerShift);
  const offset = bposOffset(pos);
  const suboffset = Number(offset & ((1n << shift) - 1n));
  return { dev: Number(bposInode(pos)), sector: offset >> shift, suboffset };
}

/**
 * The position of the backpointer of a pointer, or the first one of a sector. Mirrors bucket_pos_to_bp. In numbers: there is one for each
 * extent.
 * @param suboffset where in the uncompressed extent the pointer starts, in sectors
 */
export function backpointerBpos(dev: number, sector: number, suboffset: number, rules: FormatRules): Bpos {
  const above = 2 ** (32 - rules.backpointerShift);
  const low = (sector % above) * 2 ** rules.backpointerShift + suboffset;
  const high = Math.floor(sector / above) + (low >= 2 ** 32 ? 1 : 0);
  return Uint32Array.of(0, low >>> 0, high >>> 0, dev, 0);
}

/** The sector that the position of a backpointer is about. */
export const backpointerSector = (pos: Bpos, rules: FormatRules): number =>
  backpointerSectorAt(pos[1]!, pos[2]!, rules);

/** The same of the words of its offset. */
export const backpointerSectorAt = (low: number, high: number, { backpointerShift }: FormatRules): number =>
  high * (2 ** 32 / ((1 << backpointerShift) >>> 0)) + (low >>> backpointerShift);

/** What a pointer has to say of itself in its backpointer. */
export interface BackpointerOf {
  /** Of the key that points. */
  readonly btree: number;
  /** Above 0 for pointers to nodes. */
  readonly level: number;
  readonly pos: Bpos;
  readonly dataType: number;
  /** On the disk, in sectors. */
  readonly lengthSectors: number;
  /** Where it points to: from the start of the bucket, and the bucket's generation. */
  readonly sectorInBucket: number;
  readonly gen: number;
  /** See BackpointerPos. */
  readonly suboffset: number;
}

/** The value of a backpointer. Byte by byte, as there is one for each extent. */
export function backpointerValue(of: BackpointerOf, rules: FormatRules): Uint8Array {
  const value = new Uint8Array(BchBackpointer.size);
  const view = viewOf(value);
  value[AT.btree_id] = of.btree;
  value[AT.level] = of.level;
  value[AT.data_type] = of.dataType;
  if (rules.backpointerHolds === 'bucket_gen') value[AT.bucket_gen] = of.gen;
  else {
    const inBucket = of.sectorInBucket * 2 ** rules.backpointerShift + of.suboffset;
    value[AT.bucket_gen] = inBucket & 0xff;
    view.setUint32(AT.flags, Math.floor(inBucket / 256), true);
  }
  view.setUint32(AT.bucket_len, of.lengthSectors, true);
  for (let i = 0; i < BPOS_WORDS; i++) view.setUint32(AT.pos + 4 * i, of.pos[i]!, true);
  return value;
}

/** Whether a value leads to the key at a position. In place, as backpointerValue. */
export function isBackpointerTo(value: Uint8Array, btree: number, level: number, pos: Bpos): boolean {
  if (value[AT.btree_id] !== btree || value[AT.level] !== level) return false;
  const view = viewOf(value);
  for (let i = 0; i < BPOS_WORDS; i++) if (view.getUint32(AT.pos + 4 * i, true) !== pos[i]) return false;
  return true;
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
  const expected = inBucket * 2 ** rulesFor(context).backpointerShift + suboffset;
  const found = bucketOffset(value);
  if (found === expected) return undefined;
  return { error: 'backpointer_bucket_offset_wrong', detail: `bucket_offset ${found}, expected ${expected}` };
}
