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

  /** @param at where the value begins, and `lengthBytes` how long it is @returns false where it is not all there, or not as it should be: then what is here means nothing */
  read(bytes: Uint8Array, at: number, lengthBytes: number): boolean {
    if (lengthBytes < BchInodeV3.size) return false;
    const flags = u32At(bytes, at + AT.bi_flags);
    this.flags = flags;
    this.mode = (u32At(bytes, at + AT.bi_flags + 4) >>> 4) & 0xffff;
    this.strHash = (flags >>> 20) & 15;
    this.seedLow = u32At(bytes, at + AT.bi_hash_seed);
    this.seedHigh = u32At(bytes, at + AT.bi_hash_seed + 4);
    this.journalSeq = u64NumberAt(bytes, at + AT.bi_journal_seq);
    this.sizeBytes = u64NumberAt(bytes, at + AT.bi_size);
    this.sectors = u64NumberAt(bytes, at + AT.bi_sectors);
    const integers = new VarintReader(bytes, at + BchInodeV3.size, at + lengthBytes);
    return this.#readFields(integers, Math.min((flags >>> 24) & 127, FIELD_BITS.length));
  }

  #readFields(integers: VarintReader, count: number): boolean {
    const { fields } = this;
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
