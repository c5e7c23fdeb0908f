// The quick way to read an inode against the full one, over inodes that are sound and such that are cut or altered.

import { expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { InodeScan } from './inode-scan.ts';
import { inodeFields } from './inode-tables.ts';
import { packInodeV3, unpackInodeV3 } from './inode-unpack.ts';

const seed = testSeed();
const blankInode = unpackInodeV3(new Uint8Array(48));

test(`what it reads is what unpacking reads, and it reads all that can be unpacked (TEST_SEED=${seed})`, () => {
  const random = randomFrom(seed);
  const scan = new InodeScan();
  let sound = 0;
  for (let round = 0; round < 2000; round++) {
    const fields: Record<string, number | bigint> = {};
    for (const { name, bits } of inodeFields.rows) {
      if (random.below(3) === 0) continue;
      if (bits >= 64) fields[name] = BigInt(random.below(2 ** 32)) << BigInt(random.below(33));
      else fields[name] = random.below(2 ** Math.min(bits, 1 + random.below(32)));
    }
    const bi_flags = random.below(2 ** 20);
    const wide = { bi_size: BigInt(random.below(2 ** 32)) << 20n, bi_hash_seed: 2n ** 63n + BigInt(round) };
    const inode = {
      ...blankInode,
      ...fields,
      ...wide,
      str_hash: random.below(16),
      bi_mode: random.below(65536),
      bi_flags,
    };
    const packed = packInodeV3(inode);
    const value = round % 4 === 0 ? packed.subarray(0, packed.length - 8 * random.below(4)) : packed;
    if (round % 4 === 1) value[48 + random.below(Math.max(1, value.length - 48))]! ^= random.below(256);
    if (value.length < 48) continue;
    const unpacked = unpackInodeV3(value);
    expect(scan.read(value, 0, value.length), `round ${round}`).toBe(unpacked.unpack_error === undefined);
    if (unpacked.unpack_error !== undefined) continue;
    sound++;
    for (const { name } of inodeFields.rows) {
      const at = InodeScan.word(name);
      const found = (BigInt(scan.fields[at + 1]!) << 32n) | BigInt(scan.fields[at]!);
      expect(found, name).toBe(BigInt(unpacked[name]));
    }
    expect([scan.flags, scan.mode, scan.strHash]).toEqual([unpacked.bi_flags, unpacked.bi_mode, unpacked.str_hash]);
    expect((BigInt(scan.seedHigh) << 32n) | BigInt(scan.seedLow)).toBe(unpacked.bi_hash_seed);
    const numbers = [unpacked.bi_journal_seq, unpacked.bi_size, unpacked.bi_sectors].map(Number);
    expect([scan.journalSeq, scan.sizeBytes, scan.sectors]).toEqual(numbers);
  }
  expect(sound).toBeGreaterThan(1000);
});

test('a value that is too short is not read', () => {
  expect(new InodeScan().read(new Uint8Array(96), 8, 47)).toBe(false);
});
