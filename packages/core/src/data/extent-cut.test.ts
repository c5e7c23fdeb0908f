import { expect, test } from 'vitest';
import { makeKey } from '../btree/transaction.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { decodeExtentEntries, encodeExtentEntries } from '../ondisk/extent-entries.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { cutBack, cutFront, extentEnd, extentStart } from './extent-cut.ts';

const ptr = { type: 'ptr', cached: false, unwritten: false, offset: 1000, dev: 2, gen: 7 } as const;
const crcOf = (type: 'crc32' | 'crc64' | 'crc128', sectors: number) => ({
  type,
  compressed_size: sectors,
  uncompressed_size: sectors,
  offset: 1,
  nonce: 0,
  csum_type: 1,
  compression_type: 0,
  csum_lo: 5n,
  csum_hi: 0n,
});
const extentOf = (entries: Parameters<typeof encodeExtentEntries>[0], size: number) =>
  makeKey(keyTypes.idOf('extent'), makeBpos(5n, 100n, 9), encodeExtentEntries(entries), { size });

test('a pointer without a checksum moves itself', () => {
  const cut = cutFront(extentOf([ptr, { ...ptr, dev: 3, offset: 2 ** 40 }], 20), 6);
  expect([extentStart(cut), extentEnd(cut)]).toEqual([86, 100]);
  expect(decodeExtentEntries(cut.value)).toEqual([
    { ...ptr, offset: 1006 },
    { ...ptr, dev: 3, offset: 2 ** 40 + 6 },
  ]);
});

test.each(['crc32', 'crc64', 'crc128'] as const)('what %s covers stays whole', type => {
  const crc = crcOf(type, 64);
  const cut = cutFront(extentOf([ptr, crc, ptr], 20), 6);
  expect(decodeExtentEntries(cut.value)).toEqual([{ ...ptr, offset: 1006 }, { ...crc, offset: 7 }, ptr]);
});

test('cut at the back, only the position and the size change', () => {
  const key = extentOf([crcOf('crc32', 64), ptr], 20);
  const cut = cutBack(key, 5);
  expect([extentStart(cut), extentEnd(cut), cut.k.p[0]]).toEqual([80, 85, 9]);
  expect(cut.value).toEqual(key.value);
  expect(cutBack(key, 20)).toBe(key);
});

test('a reference moves along, inline data is cut itself', () => {
  const value = { idx: 40n, error: true, may_update_options: false, unknown_flags: 0n, front_pad: 3, back_pad: 4 };
  const reference = makeKey(keyTypes.idOf('reflink_p'), makeBpos(5n, 100n, 9), reflinkP.encode(value), { size: 20 });
  expect(reflinkP.decode(cutFront(reference, 6).value)).toEqual({ ...value, idx: 46n });
  const bytes = Uint8Array.from({ length: 1024 }, (_, i) => i >> 2);
  const inline = makeKey(keyTypes.idOf('inline_data'), makeBpos(5n, 8n, 9), bytes, { size: 8 });
  expect(cutFront(inline, 1).value).toEqual(bytes.subarray(512));
  expect(cutBack(inline, 1).value).toEqual(bytes.subarray(0, 512));
  expect(cutFront(inline, 7).value.length).toBe(0);
});
