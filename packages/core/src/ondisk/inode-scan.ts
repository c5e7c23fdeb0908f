// An inode_v3 as numbers, read into the same place as the one before it: for who looks at all inodes of a filesystem. Without an object and
// bigints for each it takes a tenth of the time of unpackInodeV3, which decides where this one cannot.

import { inodeFields } from './inode-tables.ts';
import { BchInodeV3 } from './inode-unpack.ts';
import { u32At } from './little-endian.ts';
import { VarintReader } from './varint.ts';

const FIELD_BITS = Uint8Array.from(inodeFields.rows, ({ bits }) => bits);
const AT = BchInodeV3.offset;

export type ScannedField = (typeof inodeFields.rows)[number]['name'];

export class InodeScan {
  /** Lower and higher word of each field, by its number: see `word`. */
  readonly fields: Uint32Array = new Uint32Array(2 * FIELD_BITS.length);
  /** See inodeFlags. */
  flags = 0;
  mode = 0;
  strHash = 0;
  seedLow = 0;
  seedHigh = 0;
  /** This and the next two are rounded above 2^53. */
  journalSeq = 0;
  sizeBytes = 0;
  sectors = 0;

  /** Where the lower word of a field is. */
  static word(name: ScannedField): number {
    return 2 * inodeFields.idOf(name);
  }

  /** @returns false where it is not all there, or not as it should be: then what is here means nothing */
  read(value: Uint8Array): boolean {
    if (value.length < BchInodeV3.size) return false;
    const flags = u32At(value, AT.bi_flags);
    this.flags = flags;
    this.mode = (u32At(value, AT.bi_flags + 4) >>> 4) & 0xffff;
    this.strHash = (flags >>> 20) & 15;
    this.seedLow = u32At(value, AT.bi_hash_seed);
    this.seedHigh = u32At(value, AT.bi_hash_seed + 4);
    this.journalSeq = u64NumberAt(value, AT.bi_journal_seq);
    this.sizeBytes = u64NumberAt(value, AT.bi_size);
    this.sectors = u64NumberAt(value, AT.bi_sectors);
    return this.#readFields(value, Math.min((flags >>> 24) & 127, FIELD_BITS.length));
  }

  #readFields(value: Uint8Array, count: number): boolean {
    const { fields } = this;
    const integers = new VarintReader(value, BchInodeV3.size);
    for (let nr = 0; nr < count; nr++) {
      if (!integers.next()) return false;
      const { lo, hi } = integers;
      const bits = FIELD_BITS[nr]!;
      if (bits < 64 && (hi !== 0 || (bits < 32 && lo >>> bits !== 0))) return false;
      // A time is two integers, of which the second is zero.
      if (bits > 64 && !(integers.next() && integers.lo === 0 && integers.hi === 0)) return false;
      fields[2 * nr] = lo;
      fields[2 * nr + 1] = hi;
    }
    fields.fill(0, 2 * count);
    return true;
  }
}

const u64NumberAt = (source: Uint8Array, at: number): number => u32At(source, at + 4) * 2 ** 32 + u32At(source, at);
