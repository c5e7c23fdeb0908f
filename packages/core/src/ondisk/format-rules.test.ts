import { describe, expect, test } from 'vitest';
import { withBits } from './bits.ts';
import { makeBpos } from './bpos.ts';
import { type FormatRules, RULES_WRITTEN, rulesFor, rulesOf } from './format-rules.ts';
import {
  backpointer, backpointerBpos, backpointerPos, backpointerSector, backpointerValue, bucketOffset,
} from './keys/backpointer.ts'; // biome-ignore format: one line of names
import { passNames } from './passes.ts';
import { sbBits } from './sb-bits.ts';
import { VERSION_CURRENT_WRITTEN, VERSION_MAX_WRITTEN, type VersionName, versionOf, versions } from './versions.ts';

const at = (name: VersionName): FormatRules => rulesFor({ version: versionOf(name) });

describe('the rules of a version', () => {
  test('are one value for each filesystem', () => {
    const flags = [0n, 0n, 0n, 0n, 0n, 0n, 0n];
    const sb = { version: VERSION_CURRENT_WRITTEN, flags };
    expect(rulesOf(sb)).toBe(rulesOf({ ...sb }));
    expect(rulesOf(sb)).toBe(RULES_WRITTEN);
    const shifted = rulesOf({
      version: versionOf('bucket_stripe_index'),
      flags: withBits(flags, sbBits.EXTENT_BP_SHIFT, 16),
    });
    expect(shifted.backpointerShift).toBe(16);
    expect(RULES_WRITTEN.backpointerShift).toBe(10);
  });

  test('those from 1.13 to 1.30 are written, and no others', () => {
    expect(versions.rows.filter(({ id }) => rulesFor({ version: id }).isWritten).map(({ id }) => id)).toEqual(
      versions.rows.map(({ id }) => id).filter(id => id >= VERSION_CURRENT_WRITTEN && id <= VERSION_MAX_WRITTEN),
    );
    expect(RULES_WRITTEN).toMatchObject({
      release: '1.13',
      memberBytes: 144,
      snapshotBytes: 56,
      subvolumeBytes: 40,
      btreeCounters: 1,
    });
    expect(RULES_WRITTEN.inodeOptions.at(-1)?.name).toBe('nocow');
    expect(passNames(RULES_WRITTEN.fsckPasses, '1.13')).toHaveLength(22);
  });

  test('change where a version has changed them, and stay so', () => {
    expect(at('rebalance_work').backpointerHolds).toBe('bucket_offset');
    expect(at('backpointer_bucket_gen')).toMatchObject({
      backpointerHolds: 'bucket_gen',
      accountingByteOrder: 'little',
    });
    expect(at('disk_accounting_big_endian')).toMatchObject({
      backpointerHolds: 'bucket_gen',
      accountingByteOrder: 'big',
      hasCachedBackpointers: false,
      release: '1.36',
    });
    expect(at('inode_has_case_insensitive')).toMatchObject({ hasCachedBackpointers: true, btreeCounters: 1 });
    expect(at('inode_has_case_insensitive').inodeOptions.at(-1)?.name).toBe('casefold');
    expect(at('no_sb_user_data_replicas')).toMatchObject({ btreeCounters: 3, snapshotBytes: 56 });
    expect(at('per_dev_fragmentation_lru')).toMatchObject({ snapshotBytes: 64, subvolumeBytes: 48, membersMax: 255 });
  });
});

describe('backpointers', () => {
  const of = {
    btree: 0,
    level: 0,
    pos: makeBpos(4098n, 16n, 7),
    dataType: 4,
    lengthSectors: 8,
    sectorInBucket: 0x12_3456,
    gen: 9,
    suboffset: 5,
  };

  test('positions go there and back, whatever the shift, and agree with those of the texts', () => {
    for (const extentBpShift of [0, 10, 16, 22]) {
      for (const [sector, suboffset] of [
        [0, 0],
        [2 ** 22 - 1, 1023],
        [2 ** 22, 0],
        [2 ** 40 + 12_345, 511],
      ] as const) {
        const format = { version: versionOf('bucket_stripe_index'), extentBpShift };
        const rules = rulesFor(format);
        const pos = backpointerBpos(3, sector, suboffset, rules);
        expect(backpointerSector(pos, rules)).toBe(sector);
        expect(backpointerPos(pos, format)).toEqual({ dev: 3, sector: BigInt(sector), suboffset });
      }
    }
  });

  test('values are what the reader reads', () => {
    const old = backpointer.decode(backpointerValue(of, RULES_WRITTEN));
    expect(old).toMatchObject({ btree_id: 0, level: 0, data_type: 4, bucket_len: 8, pos: of.pos });
    expect(bucketOffset(old)).toBe(0x12_3456 * 1024 + 5);
    const now = backpointer.decode(backpointerValue(of, at('backpointer_bucket_gen')));
    expect(now).toMatchObject({ bucket_gen: 9, flags: 0, bucket_len: 8, pos: of.pos });
  });
});
