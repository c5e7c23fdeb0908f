import { expect, test } from 'vitest';
import { fileChunks, type Region } from './file-chunks.ts';

/** Chunks in short, and the file put together from them. */
function read(file: Uint8Array, regions: readonly Region[]) {
  const copy = new Uint8Array(file.length);
  const texts = [
    ...fileChunks({
      sizeBytes: file.length,
      regions: () => regions,
      read: (offset, into) => into.set(file.subarray(offset, offset + into.length)),
    }),
  ].map(chunk => `${chunk.kind} ${chunk.offset}+${chunk.length}`);
  for (const chunk of fileChunks({
    sizeBytes: file.length,
    regions: () => regions,
    read: (offset, into) => into.set(file.subarray(offset, offset + into.length)),
  }))
    if (chunk.kind === 'data') copy.set(chunk.bytes, chunk.offset);
  expect(Buffer.compare(copy, file)).toBe(0);
  return texts;
}

test('holes are the blocks of zeroes, however the host has stored them', () => {
  const file = new Uint8Array(20_000);
  file[5000] = 1;
  file[19_999] = 1;
  const expected = ['hole 0+4096', 'data 4096+4096', 'hole 8192+8192', 'data 16384+3616'];
  const whole = [{ offset: 0, length: 20_000 }];
  const small = [
    { offset: 5000, length: 1 },
    { offset: 19_999, length: 1 },
  ];
  const odd = [
    { offset: 1024, length: 4000 },
    { offset: 5024, length: 100 },
    { offset: 6000, length: 0 },
    { offset: 8000, length: 12_000 },
  ];
  for (const regions of [whole, small, odd]) expect(read(file, regions)).toEqual(expected);
});

test('nothing, only zeroes, more than a buffer', () => {
  expect(read(new Uint8Array(0), [])).toEqual([]);
  expect(read(new Uint8Array(5000), [{ offset: 0, length: 5000 }])).toEqual(['hole 0+5000']);
  const large = new Uint8Array(2 ** 21 + 5).fill(7);
  expect(read(large, [{ offset: 0, length: large.length }])).toEqual([
    'data 0+1048576',
    'data 1048576+1048576',
    'data 2097152+5',
  ]);
});
