// The quick checks of values against the full ones: what they let pass has nothing wrong with it, and what the kernel writes they
// let pass.

import { describe, expect, test } from 'vitest';
import { type Random, randomFrom, testSeed } from '../../../../../test/support/random.ts';
import { BKEY_U64S, type Bkey } from '../bkey.ts';
import { ROW, ROW_WORDS } from '../bkey-format.ts';
import { rulesFor } from '../format-rules.ts';
import { inodeFields } from '../inode-tables.ts';
import { packInodeV3, unpackInodeV3 } from '../inode-unpack.ts';
import { accountingBpos } from './accounting.ts';
import { backpointerBpos, backpointerValue } from './backpointer.ts';
import { dirent } from './dirent.ts';
import { keyKind } from './index.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import type { KeyValidateContext } from './kind.ts';
import { isSurelySound } from './sound-values.ts';

const context: KeyValidateContext = {
  version: (1 << 10) | 36,
  device: index => (index > 3 ? undefined : { bucketSizeSectors: 256, firstBucket: 1, bucketCount: 1000 }),
  encodedExtentMaxSectors: 128,
};

interface Sample {
  readonly type: number;
  readonly p: Uint32Array;
  readonly size: number;
  readonly value: Uint8Array;
  /** The lower word of the key's version; 0 when left out. */
  readonly version?: number;
}

/** Four words of something else before the value. */
const VALUE_AT = 4;

function isQuicklySound({ type, p, size, value, version = 0 }: Sample, more: KeyValidateContext = {}): boolean {
  const words = new Uint32Array(VALUE_AT + value.length / 4);
  new Uint8Array(words.buffer).set(value, 4 * VALUE_AT);
  const rows = new Uint32Array(2 * ROW_WORDS);
  rows[ROW_WORDS] = (type << 16) | (BKEY_U64S + value.length / 8);
  rows[ROW_WORDS + ROW.versionLo] = version;
  rows[ROW_WORDS + ROW.size] = size;
  rows.set(p, ROW_WORDS + ROW.position);
  rows[ROW_WORDS + ROW.valueAt] = 4 * VALUE_AT;
  rows[ROW_WORDS + ROW.valueBytes] = value.length;
  return isSurelySound(words, rows, ROW_WORDS, { ...context, ...more });
}

function problemsOf({ type, p, size, value, version = 0 }: Sample, more: KeyValidateContext = {}) {
  const kind = keyKind(type);
  if (kind === undefined) return ['no such type'];
  if (value.length < kind.minBytes) return ['too short'];
  const k: Bkey = {
    u64s: BKEY_U64S + value.length / 8,
    format: 1,
    type,
    pad: 0,
    bversion_lo: BigInt(version),
    bversion_hi: 0,
    size,
    p,
  };
  return kind.validate(kind.decode(value), k, { ...context, ...more });
}

const u32 = (random: Random): number => random.pick([0, 1, 8, 254, 4096, 0xffff_ffff, random.below(2 ** 32)]);
const blankInode = unpackInodeV3(new Uint8Array(48));

/** A value that is close to sound. */
function likelyValue(type: number, random: Random): Uint8Array {
  const name = keyTypes.nameOf(type);
  if (name === 'inode_v3') {
    const pick = () => random.pick([0, 0, 1, 4, 5, 127, 128, 255, 256, 65535, 65536, 2 ** 28, 0xffff_ffff]);
    const fields: Record<string, number | bigint> = {};
    for (const { name: field, bits } of inodeFields.rows) {
      if (bits >= 64) fields[field] = BigInt(pick()) << BigInt(random.below(32));
      else if (random.below(6) === 0) fields[field] = pick();
    }
    const bi_mode = random.pick([0o40755, 0o100644]);
    const packed = packInodeV3({
      ...blankInode,
      ...fields,
      str_hash: random.below(5),
      bi_mode,
      bi_flags: random.below(256),
    });
    return random.below(4) === 0 ? packed.slice(0, packed.length - 8) : packed;
  }
  if (name === 'dirent') {
    const name = Uint8Array.from({ length: random.below(20) }, () => random.pick([46, 47, 97, 98, 99, 100, 200, 255]));
    const casefoldedName = random.below(5) === 0 ? name : undefined;
    const unused = { namesLength: 0, namesLengthMax: 0 };
    return dirent.encode({
      target: { inum: BigInt(u32(random)) },
      type: random.below(17),
      name,
      casefoldedName,
      ...unused,
    });
  }
  if (name === 'xattr') {
    const header = [random.below(6), random.below(12), random.below(12), 0];
    return Uint8Array.from({ length: 8 * (1 + random.below(4)) }, (_, i) => header[i] ?? random.pick([0, 97, 98, 99]));
  }
  if (name === 'extent' || name === 'reflink_v') return entriesOf(random, name === 'reflink_v' ? 8 : 0);
  return Uint8Array.from({ length: 8 * random.below(6) }, () => random.pick([0, 0, 1, 2, 4, 255, random.below(256)]));
}

/** Extent entries, most of them well made. */
function entriesOf(random: Random, before: number): Uint8Array {
  const words: bigint[] = [];
  const count = 1 + random.below(4);
  for (let i = 0; i < count; i++) {
    const csum = BigInt(random.pick([0, 3, 4, 5, 5, 5, 6, 8]));
    const compression = BigInt(random.pick([0, 0, 3, 4, 5, 6]));
    const size = BigInt(random.pick([7, 7, 7, 15]));
    switch (random.below(8)) {
      case 0:
        words.push(2n | (size << 2n) | (7n << 9n) | (csum << 24n) | (compression << 28n));
        break;
      case 1:
        words.push(4n | (size << 3n) | (7n << 12n) | (csum << 40n) | (compression << 44n), 0n);
        break;
      case 2:
        words.push(1n << BigInt(random.below(12)));
        break;
      case 3:
        words.push(128n | (BigInt(random.below(64)) << 15n) | (BigInt(random.below(3)) << 28n));
        break;
    }
    const flags = BigInt(random.pick([0, 0, 0, 2, 8]));
    const offset = BigInt(random.pick([256, 256, 512, 700, 0, 256_000]));
    if (random.below(8) > 0)
      words.push(1n | flags | (offset << 4n) | (BigInt(random.pick([0, 1, 2, 2, 9, 255])) << 48n));
  }
  const bytes = new Uint8Array(before + 8 * words.length);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of words.entries()) view.setBigUint64(before + 8 * i, word, true);
  return bytes;
}

const seed = testSeed();
const ROUNDS = 2000;

describe(`TEST_SEED=${seed}`, () => {
  test.each(keyTypes.rows.map(({ id, name }) => [name, id] as const))('%s', (name, type) => {
    const random = randomFrom(seed + type);
    let sound = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const p = Uint32Array.from({ length: 5 }, (_, i) => (i >= 3 && random.below(2) ? 0 : u32(random)));
      const [size, version] = [random.pick([0, 8, 8, 9]), random.pick([0, 7])];
      const sample = { type, p, size, value: likelyValue(type, random), version };
      const more = { writing: random.below(2) === 0, version: random.pick([1037, 1060, 1063]) };
      if (!isQuicklySound(sample, more)) continue;
      sound++;
      expect(problemsOf(sample, more), `round ${round}`).toEqual([]);
    }
    // Some of both, or this says nothing.
    if (!['extent', 'reflink_v', 'inode_v3', 'dirent', 'xattr', 'reflink_p', 'reservation'].includes(name)) return;
    expect(sound).toBeGreaterThan(ROUNDS / 200);
    expect(sound).toBeLessThan(ROUNDS * 0.95);
  });
});

describe('what is usual is quickly seen to be sound', () => {
  const hex = (text: string) => Uint8Array.from(text.match(/../g) ?? [], pair => Number.parseInt(pair, 16));
  const at = (type: KeyTypeName, value: string, size = 0) => ({
    type: keyTypes.idOf(type),
    p: Uint32Array.of(9, 5000, 0, type.startsWith('inode') ? 0 : 4096, 0),
    size,
    value: hex(value),
  });

  // source: reference, as in reference-keys.test.ts.
  test.each([
    at('extent', '1e0e00053baf9d0701e8040000000002', 8),
    at('extent', '7cf2040000060000de016049ccf27e010141030000000000', 80),
    at('extent', '20000000000003019e4e00054aab855c018a02000000010001ea02000000000083dd010000000300', 40),
    at(
      'inode_v3',
      '190000000000000072bc2cc376b4ce5200003015031a0600000000000000000000000000000000000000000000000000' +
        '0f86e5423a000f86e5423a000f86e5423a000f86e5423a000000000017010008000000000000000000001d45ffd25abf7383cde716000000',
    ),
    at('dirent', '4711000000000000047370656369616c'),
    at('xattr', '030603006f6e6c696e6b796573000000'),
    at('reservation', '0000000001000000', 8),
    at('set', ''),
  ])('%#', sample => {
    expect(problemsOf(sample)).toEqual([]);
    expect(isQuicklySound(sample)).toBe(true);
  });

  test.each([1037, 1060])('counters of inodes in version %d, where they say when they were', version => {
    const p = accountingBpos({ type: 'inum', inum: 0x1234_5678_9abcn }, { version });
    const sample = { type: keyTypes.idOf('accounting'), p, size: 0, value: new Uint8Array(24), version: 7 };
    expect(problemsOf(sample, { version })).toEqual([]);
    expect(isQuicklySound(sample, { version })).toBe(true);
    expect(isQuicklySound({ ...sample, version: 0 }, { version })).toBe(false);
    expect(isQuicklySound({ ...sample, value: new Uint8Array(32) }, { version })).toBe(false);
  });

  test.each([1037, 1060])('backpointers of version %d, and none whose offset in the bucket is wrong', version => {
    const rules = rulesFor({ version });
    const target = { btree: 0, level: 0, pos: Uint32Array.of(1, 8, 0, 4096, 0), dataType: 4, gen: 3 };
    for (const [sector, suboffset] of [
      [256, 0],
      [700, 5],
      [200_000, 127],
      [2 ** 33 + 17, 0],
    ] as const) {
      const of = { ...target, lengthSectors: 8, sectorInBucket: sector % 256, suboffset };
      const p = backpointerBpos(2, sector, suboffset, rules);
      const sample = { type: keyTypes.idOf('backpointer'), p, size: 0, value: backpointerValue(of, rules) };
      expect(problemsOf(sample, { version })).toEqual([]);
      expect(isQuicklySound(sample, { version })).toBe(true);
      if (version === 1060) continue;
      for (const [byte, added] of [
        [3, 1],
        [4, 1],
        [7, 0x80],
      ] as const) {
        const value = sample.value.slice();
        value[byte]! ^= added;
        expect(isQuicklySound({ ...sample, value }, { version })).toBe(false);
        expect(problemsOf({ ...sample, value }, { version })).toHaveLength(1);
      }
    }
  });
});
