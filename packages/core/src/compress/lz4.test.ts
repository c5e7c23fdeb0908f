import { describe, expect, it } from 'vitest';
import { type Random, randomFrom, testSeed } from '../../../../test/support/random.ts';
import { decodeLz4Block } from './lz4.ts';

const seed = testSeed();
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytesOf = (...parts: readonly (string | number | readonly number[])[]) =>
  Uint8Array.from(parts.flatMap(part => (typeof part === 'string' ? [...new TextEncoder().encode(part)] : part)));

/** What the first `outputBytes` bytes of the block are; undefined where it is damaged. */
function decode(input: Uint8Array, outputBytes: number): string | undefined {
  const output = new Uint8Array(outputBytes);
  return decodeLz4Block(input, output) === outputBytes ? text(output) : undefined;
}

describe('decodeLz4Block', () => {
  it('copies literals and matches, also matches that reach into themselves', () => {
    expect(decode(bytesOf(0x50, 'hello'), 5)).toBe('hello');
    expect(decode(bytesOf(0x30, 'abc', [3, 0], 0x10, 'X'), 8)).toBe('abcabcaX');
    expect(decode(bytesOf(0x13, 'a', [1, 0], 0x10, 'X'), 9)).toBe('aaaaaaaaX');
    expect(decode(bytesOf(0x26, 'ab', [2, 0], 0x10, 'X'), 13)).toBe('abababababab'.concat('X'));
  });

  it('reads lengths that go on in further bytes', () => {
    expect(decode(bytesOf(0xf0, 5, 'twenty bytes of text'), 20)).toBe('twenty bytes of text');
    expect(decode(bytesOf(0xf0, [255, 0], 'x'.repeat(270)), 270)).toBe('x'.repeat(270));
    expect(decode(bytesOf(0x1f, 'a', [1, 0], [255, 255, 1], 0x10, 'X'), 532)).toBe(`${'a'.repeat(531)}X`);
  });

  it('ends when the output is full, in the middle of anything, whatever follows', () => {
    const block = bytesOf(0x30, 'abc', [3, 0], 0x50, 'defgh', 0xff, 0xff, 0xff, [0, 0, 0, 0]);
    for (let length = 0; length <= 12; length++) expect(decode(block, length)).toBe('abcabcadefgh'.slice(0, length));
  });

  it('says how far it came where the block is damaged or cut off', () => {
    const come = (input: Uint8Array, outputBytes: number) => decodeLz4Block(input, new Uint8Array(outputBytes));
    expect(come(bytesOf(), 5), 'nothing').toBe(0);
    expect(come(bytesOf(0x50, 'hell'), 5), 'literals past the end of the input').toBe(0);
    expect(come(bytesOf(0x50, 'hello'), 6), 'no match').toBe(5);
    expect(come(bytesOf(0x30, 'abc', 1), 9), 'half a distance').toBe(3);
    expect(come(bytesOf(0x30, 'abc', [0, 0]), 9), 'distance 0').toBe(3);
    expect(come(bytesOf(0x30, 'abc', [4, 0]), 9), 'a match from before the start').toBe(3);
    expect(come(bytesOf(0x30, 'abc', [3, 0]), 9), 'no further sequence').toBe(7);
    expect(come(bytesOf(0xf0, [255, 255]), 4000), 'a count of literals without an end').toBe(0);
    expect(come(bytesOf(0x1f, 'a', [1, 0], [255, 255]), 100), 'a length without an end').toBe(1);
  });

  it(`does the same as byte by byte, wherever in a buffer it reads and writes (TEST_SEED=${seed})`, () => {
    const random = randomFrom(seed);
    let whole = 0;
    for (let round = 0; round < 3000; round++) {
      const { input, outputBytes } = round % 3 === 0 ? randomBytes(random) : randomBlock(random);
      const [inputAt, outputAt] = [random.below(9), random.below(9)];
      const source = new Uint8Array(inputAt + input.length + 40).fill(0xee);
      source.set(input, inputAt);
      const target = new Uint8Array(outputAt + outputBytes + 40).fill(0xdd);
      const output = target.subarray(outputAt, outputAt + outputBytes);

      const expected = new Uint8Array(outputBytes);
      const expectedBytes = plainDecode(input, expected);
      const decodedBytes = decodeLz4Block(source.subarray(inputAt, inputAt + input.length), output);
      const about = `round ${round}`;
      expect(decodedBytes, about).toBe(expectedBytes);
      // Much faster than toEqual.
      const difference = Buffer.compare(output.subarray(0, decodedBytes), expected.subarray(0, decodedBytes));
      expect(difference, about).toBe(0);
      const around = [...target.subarray(0, outputAt), ...target.subarray(outputAt + outputBytes)];
      expect(
        around.every(byte => byte === 0xdd),
        `${about}: nothing is written outside of the output`,
      ).toBe(true);
      if (decodedBytes === outputBytes) whole++;
    }
    expect(whole).toBeGreaterThan(1000);
  });
});

/** The format's description in the plainest words: one byte at a time, nothing copied ahead. */
function plainDecode(input: Uint8Array, output: Uint8Array): number {
  let from = 0;
  let to = 0;
  const lengthFrom = (start: number): number | undefined => {
    if (start < 15) return start;
    for (let length = start; from < input.length; ) {
      const more = input[from++]!;
      length += more;
      if (more < 255) return length;
    }
    return undefined;
  };
  while (to < output.length) {
    if (from === input.length) return to;
    const token = input[from++]!;
    const literals = lengthFrom(token >> 4);
    if (literals === undefined) return to;
    const fitting = Math.min(literals, output.length - to);
    if (from + fitting > input.length) return to;
    for (let i = 0; i < fitting; i++) output[to++] = input[from++]!;
    if (to === output.length) return to;
    if (from + 2 > input.length) return to;
    const distance = input[from]! + 256 * input[from + 1]!;
    from += 2;
    if (distance === 0 || distance > to) return to;
    const length = lengthFrom(token & 15);
    if (length === undefined) return to;
    for (let i = 0; i < length + 4 && to < output.length; i++, to++) output[to] = output[to - distance]!;
  }
  return to;
}

function randomBytes(random: Random): { input: Uint8Array; outputBytes: number } {
  const input = Uint8Array.from({ length: random.below(60) }, () => random.pick([0, 1, 4, 16, 255, random.below(256)]));
  return { input, outputBytes: 1 + random.below(300) };
}

/** Right sequences with every kind of length and distance, cut off or ended early now and then. */
function randomBlock(random: Random): { input: Uint8Array; outputBytes: number } {
  const bytes: number[] = [];
  let size = 0;
  const lengthBytes = (length: number): number[] => {
    const more: number[] = [];
    for (let rest = length - 15; rest >= 0; rest -= 255) more.push(Math.min(rest, 255));
    if (more.at(-1) === 255) more.push(0);
    return more;
  };
  const aLength = () => random.pick([0, 1, 3, 4, 5, 8, 9, 12, 13, 14, 15, 16, 17, 63, 64, 65, 269, 270, 271, 600]);
  for (let nr = 1 + random.below(12); nr > 0; nr--) {
    const literals = size === 0 ? 1 + aLength() : aLength();
    const length = aLength();
    bytes.push((Math.min(literals, 15) << 4) | Math.min(length, 15), ...lengthBytes(literals));
    for (let i = 0; i < literals; i++) bytes.push(random.below(256));
    size += literals;
    const distance = Math.min(size, random.pick([1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 64, 1 + random.below(size)]));
    bytes.push(distance & 255, distance >> 8, ...lengthBytes(length));
    size += length + 4;
  }
  const cut = random.below(6) === 0 ? random.below(bytes.length) : bytes.length;
  const input = Uint8Array.from([...bytes.slice(0, cut), ...Array.from({ length: random.below(30) }, () => 0)]);
  return { input, outputBytes: random.below(4) === 0 ? 1 + random.below(size) : size };
}
