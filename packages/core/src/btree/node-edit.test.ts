// Changing nodes in their bytes: values, positions and the order of keys in several bsets, encrypted ones too; what comes after them or is damaged
// becomes zeroes; and no bytes whatever make it throw.

import { describe, expect, test } from 'vitest';
import { buildNode, testKey } from '../../../../test/support/nodes.ts';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { makeBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { versionOf } from '../ondisk/versions.ts';
import { type EditableBset, editNode, type NodeEditContext } from './node-edit.ts';
import { encodeNode } from './node-write.ts';

const MAGIC = 0xfeed_beefn;
const context: NodeEditContext = { magic: MAGIC, blockSectors: 1, key: undefined };
const filled = (byte: number) => new Uint8Array(16).fill(byte);

/** Two bsets of two keys each. */
const twoBsets = () =>
  buildNode({
    ...{ magic: MAGIC, btree: 10 },
    bsets: [1, 3].map(inode => ({
      keys: [testKey('lru', [inode, 5], filled(inode)), testKey('lru', [inode, 9], filled(9))],
    })),
  });

/** What an edit that changes nothing sees. */
function keysIn(bytes: Uint8Array, by: NodeEditContext = context): string[][] {
  const seen: string[][] = [];
  const { damage } = editNode(bytes.slice(), 0, by, ({ keys }: EditableBset) => {
    seen.push(keys.map(({ k, value }) => `${k.p[3]}:${k.p[1]} ${value[0]}`));
    return undefined;
  });
  expect(damage).toBeUndefined();
  return seen;
}

describe('editing', () => {
  test('values and positions, in order', () => {
    const bytes = twoBsets();
    const { damage, sectors } = editNode(bytes, 0, context, ({ keys }) => {
      for (const { value } of keys) value.fill(0);
      return keys
        .map(key => ({ ...key, k: { ...key.k, p: makeBpos(BigInt(key.k.p[3]!), 100n - BigInt(key.k.p[1]!), 0) } }))
        .reverse();
    });
    expect(damage).toBeUndefined();
    expect(sectors).toBe(2);
    expect(keysIn(bytes)).toEqual([
      ['1:91 0', '1:95 0'],
      ['3:91 0', '3:95 0'],
    ]);
  });

  test('an encrypted node stays encrypted', () => {
    const key = new Uint8Array(32).fill(3);
    const encoded = encodeNode(
      {
        ...{ btree: 10, level: 0, minKey: POS_MIN, maxKey: SPOS_MAX, seq: 77n, journalSeq: 4 },
        keys: [testKey('lru', [1, 5], new TextEncoder().encode('a secret of 24 bytes....')), testKey('lru', [2, 5])],
      },
      {
        ...{ ...context, key, version: versionOf('inode_has_child_snapshots'), nodeSectors: 16 },
        csumType: checksumTypes.idOf('chacha20_poly1305_128'),
      },
    );
    const bytes = new Uint8Array(8192);
    bytes.set(encoded.bytes);
    bytes.fill(0xaa, encoded.bytes.length);
    const by = { ...context, key };
    expect(editNode(bytes, 0, by, ({ keys }) => void keys[0]!.value.set([0x62]))).toEqual({
      sectors: 1,
      damage: undefined,
    });
    expect(keysIn(bytes, by)).toEqual([['1:5 98', '2:5 undefined']]);
    expect(Buffer.from(bytes).includes('secret')).toBe(false);
    expect(bytes.subarray(encoded.bytes.length).every(byte => byte === 0)).toBe(true);
    expect(editNode(bytes.slice(), 0, context, () => undefined).damage?.error).toBe('bset_unknown_csum');
  });

  test('what comes after what counts, or is damaged, becomes zeroes', () => {
    const short = twoBsets();
    expect(editNode(short, 1, context, () => undefined)).toEqual({ sectors: 1, damage: undefined });
    expect(short.subarray(512).every(byte => byte === 0)).toBe(true);
    const torn = twoBsets();
    torn[512 + 100]! ^= 1;
    const edited = editNode(torn, 0, context, () => undefined);
    expect(edited).toMatchObject({ sectors: 1, damage: { error: 'bset_bad_csum' } });
    expect(torn.subarray(512).every(byte => byte === 0)).toBe(true);
    const tooLong = twoBsets();
    const grown = editNode(tooLong, 0, context, ({ keys }) => [...keys, ...keys]);
    expect(grown).toMatchObject({ sectors: 0, damage: { error: 'btree_node_bkey_bad_format' } });
    expect(tooLong.every(byte => byte === 0)).toBe(true);
  });

  const seed = testSeed();
  test(`no bytes make it throw (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    // Without checksums, so that what is wrong inside is met too.
    const sound = encodeNode(
      {
        ...{ btree: 10, level: 0, minKey: POS_MIN, maxKey: SPOS_MAX, seq: 77n, journalSeq: 4 },
        keys: Array.from({ length: 20 }, (_, i) => testKey('lru', [1, i], filled(i))),
      },
      { ...context, version: versionOf('inode_has_child_snapshots'), nodeSectors: 16, csumType: 0 },
    ).bytes;
    let damaged = 0;
    for (let round = 0; round < 3000; round++) {
      const bytes = sound.slice();
      for (let i = random.below(6); i >= 0; i--) bytes[random.below(400)] = random.below(256);
      const { damage } = editNode(bytes, random.below(4), context, ({ keys }) =>
        random.below(2) === 0 ? keys : undefined,
      );
      if (damage !== undefined) damaged++;
    }
    expect(damaged).toBeGreaterThan(500);
  });
});
