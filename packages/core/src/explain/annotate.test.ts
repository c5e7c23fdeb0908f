import { expect, test } from 'vitest';
import type { Bkey } from '../ondisk/bkey.ts';
import { BkeyFormatBuilder, KeyPacker } from '../ondisk/bkey-format.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { at, bytes, count64, layout, u8, u16, viewOf } from '../ondisk/layout.ts';
import { annotateLayout, annotationAt, hexRows, hexRowText } from './annotate.ts';
import { annotateNodeKey } from './key-annotations.ts';

const Inner = layout('inner', 4, { lo: at(0, u16), hi: at(2, u16) });
const Outer = layout('outer', 32, {
  first: at(0, u8),
  pad: at(1, bytes(3)),
  inner: at(4, Inner),
  count: at(8, count64),
  name: at(16, bytes(16)),
});

const source = new Uint8Array(40);
source.set([7, 0, 0, 0, 1, 2, 3, 4, 9]);
source.set(new TextEncoder().encode('a label'), 16);
source.set(new TextEncoder().encode('rest'), 32);
const annotations = [...annotateLayout(Outer, viewOf(source), 0, 1000, 'x.')];

test('members have their places on the device and the values that the layout reads', () => {
  expect(annotations.map(({ at, lengthBytes, name, value }) => [at, lengthBytes, name, value])).toEqual([
    [1000, 1, 'x.first', '7'],
    [1001, 3, 'x.pad', '""'],
    [1004, 4, 'x.inner', undefined],
    [1004, 2, 'x.inner.lo', '513'],
    [1006, 2, 'x.inner.hi', '1027'],
    [1008, 8, 'x.count', '9'],
    [1016, 16, 'x.name', '"a label"'],
  ]);
  expect(annotationAt(annotations, 1007)?.name).toBe('x.inner.hi');
  expect(annotationAt(annotations, 1031)?.name).toBe('x.name');
  expect(annotationAt(annotations, 1032)).toBeUndefined();
});

test('a count above 2^53 is shown, and not thrown', () => {
  const odd = source.slice().fill(0xff, 8, 16);
  const count = [...annotateLayout(Outer, viewOf(odd), 0, 0)].find(({ name }) => name === 'count');
  expect(count?.value).toMatch(/2\^53|18446744073709551615/);
});

test('every byte of a dump is shown once, whatever is known of it', () => {
  const rows = [...hexRows(source.subarray(2), 1002, annotations)];
  const shown = rows.flatMap(row => [...row.bytes]);
  expect(shown).toEqual([...source.subarray(2)]);
  expect(rows.map(hexRowText)).toEqual([
    '        1002  00 00                                              x.pad: ""',
    '        1004                                                     x.inner:',
    '        1004  01 02                                              x.inner.lo: 513',
    '        1006  03 04                                              x.inner.hi: 1027',
    '        1008  09 00 00 00 00 00 00 00                            x.count: 9',
    '        1016  61 20 6c 61 62 65 6c 00 00 00 00 00 00 00 00 00    x.name: "a label"',
    '        1032  72 65 73 74 00 00 00 00                            |rest....|',
  ]);
});

test('the fields of a packed key stand where its format puts them', () => {
  const key = (inode: bigint, offset: bigint): Bkey => ({
    u64s: 5,
    format: 1,
    type: 2,
    pad: 0,
    bversion_lo: 0n,
    bversion_hi: 0,
    size: 0,
    p: makeBpos(inode, offset, 0xffff_ffff),
  });
  const builder = new BkeyFormatBuilder();
  for (const k of [key(4096n, 8n), key(4200n, 1_000_000n)]) builder.addKey(k);
  const format = builder.finish();
  const packer = new KeyPacker(format);
  const words = new Uint32Array(2 * packer.keyU64s);
  expect(packer.pack(key(4111n, 123_456n), words, 0)).toBe(true);
  const found = [...annotateNodeKey(new Uint8Array(words.buffer), format, 500, '')];
  const textOf = (name: string) => found.find(one => one.name === name)?.value;
  expect(textOf('inode')).toMatch(/^4111 = 15 \+ 4096 \(bits \d+ to \d+\)$/);
  expect(textOf('offset')).toMatch(/^123456 = 123448 \+ 8 /);
  expect(textOf('type')).toBe('2');
  for (const { at: start, lengthBytes } of found) {
    expect(start).toBeGreaterThanOrEqual(500);
    expect(start + lengthBytes).toBeLessThanOrEqual(500 + 8 * packer.keyU64s);
  }
});
