// The quick text of keys against keyText, which is plain: over random values, and values that are nearly what disks hold.

import { expect, test } from 'vitest';
import { type Random, randomFrom, testSeed } from '../../../../../test/support/random.ts';
import { PrintBuffer } from '../../util/print-buffer.ts';
import { BKEY_U64S, type Key } from '../bkey.ts';
import { inodeFields } from '../inode-tables.ts';
import { packInodeV3, unpackInodeV3 } from '../inode-unpack.ts';
import { keyText } from './index.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import type { KeyTextContext } from './kind.ts';
import { quickKeyText, u64Hex } from './quick-text.ts';

const VERSIONS = [(1 << 10) | 13, (1 << 10) | 14, (1 << 10) | 36, (1 << 10) | 39];

const contexts: readonly KeyTextContext[] = (['1.36', '1.39'] as const).flatMap(style =>
  VERSIONS.map((version, i) => ({
    style,
    version,
    extentBpShift: [0, 10, 20, 255][i]!,
    label: group => `group${group}`,
    device: index =>
      index > 4
        ? undefined
        : {
            name: `dev${index}`,
            isOnline: true,
            bucketSizeSectors: 128 * index,
            durability: index > 3 ? 2 : 1,
            isEvacuating: index === 3,
          },
  })),
);

const word = (random: Random): number =>
  random.pick([0, 0, 1, 2, 3, 4096, 0x1f_ffff, 0x20_0000, 0xffff_ffff, random.below(2 ** 32)]);

/** Bytes of any kind, and for each type some that look like its own. */
function randomValue(random: Random, type: KeyTypeName): Uint8Array {
  const u64s = random.pick([0, 1, 2, 3, 4, 6, 7, 8, 9, 20]);
  const any = Uint8Array.from({ length: 8 * u64s }, () =>
    random.pick([0, 0, random.below(20), 97 + random.below(26), 255, random.below(256)]),
  );
  const view = new DataView(any.buffer);
  if (random.below(3) === 0 || any.length < 16) return any;
  switch (type) {
    case 'inode_v3': {
      if (any.length < 48) return any;
      // With the number of its fields and a hash that is known; then what packing makes of it, or with a byte changed.
      view.setUint32(
        16,
        (random.below(4) << 20) | (random.below(inodeFields.rows.length + 2) << 24) | random.below(2 ** 20),
        true,
      );
      const packed = packInodeV3(unpackInodeV3(any));
      if (random.below(3) === 0) packed[random.below(packed.length)] = random.below(256);
      return packed;
    }
    case 'dirent':
      any[8] = random.pick([4, 8, 10, 16, 128 + 8, 31]);
      for (let i = 9; i < any.length; i++) any[i] = random.below(30) === 0 ? random.below(256) : 97 + random.below(26);
      any.fill(0, any.length - random.below(9));
      return any;
    case 'extent':
      for (let at = 0; at < any.length; at += 8) {
        any[at] = random.pick([1, 1, 2, 2, 1 | 0x10, 3, 9, 6, any[at]!]);
        any[at + 6] = random.below(6);
      }
      return any;
    case 'alloc_v4':
      if (any.length < 48) return any;
      view.setUint32(
        8,
        (random.pick([0, 6, 7, 8, 9]) << 2) | random.below(4) | (random.below(8) === 0 ? 256 : 0),
        true,
      );
      view.setUint32(16, random.pick([0, 1, 127, 128, 256, 2 ** 31, 0xffff_ffff]), true);
      if (any.length >= 64) view.setUint32(56, random.pick([0, 0, 1]), true);
      return any;
    case 'backpointer':
      any[0] = random.below(30);
      any.fill(random.below(2), 4, 8);
      return any;
    default:
      return any;
  }
}

const seed = testSeed();

test.each(['inode_v3', 'dirent', 'extent', 'alloc_v4', 'backpointer', 'set', 'xattr'] as const)(
  `%s as keyText prints it (TEST_SEED=${seed})`,
  type => {
    const random = randomFrom(seed);
    let quick = 0;
    for (let round = 0; round < 1500; round++) {
      const value = randomValue(random, type);
      const key: Key = {
        k: {
          u64s: BKEY_U64S + value.length / 8,
          format: 1,
          type: keyTypes.idOf(type),
          pad: 0,
          bversion_lo: BigInt(word(random)),
          bversion_hi: 0,
          size: word(random),
          p: Uint32Array.of(word(random), word(random), word(random), random.below(6), random.pick([0, 0, 0, 1])),
        },
        value,
      };
      const context = random.pick(contexts);
      const indent = random.pick([0, 0, 2, 4]);
      const text = quickKeyText(context, indent).text(key);
      if (text === undefined) continue;
      quick++;
      const before = () => new PrintBuffer().addIndent(indent).print('before ');
      const plain = before();
      keyText(plain, key, context);
      expect(before().printIndented(text).print(' after').newline().toString()).toBe(
        plain.print(' after').newline().toString(),
      );
    }
    // Those that are left out are the unusual ones, and each of these has some of the usual.
    expect(quick).toBeGreaterThan(type === 'xattr' ? 0 : 100);
  },
);

test('hexadecimal numbers of two words: what bigints give', () => {
  const random = randomFrom(testSeed());
  const edges = [0, 1, 0xffff, 0x1_0000, 0x0fff_ffff, 0x1000_0000, 0xffff_ffff];
  const word = () => (random.below(2) === 0 ? random.pick(edges) : random.below(2 ** random.below(33)));
  for (let round = 0; round < 20_000; round++) {
    const [lo, hi] = [word(), word()];
    const whole = (BigInt(hi) << 32n) | BigInt(lo);
    expect(u64Hex(lo, hi), `seed ${random.seed}`).toBe(whole.toString(16));
  }
});
