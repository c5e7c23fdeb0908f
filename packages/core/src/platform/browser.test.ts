// The browser's answers are Node's.

import { deflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { platform as browser } from './browser.ts';
import { platform as node } from './node.ts';

const random = randomFrom(testSeed());
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random.below(256));

describe('the platform of a browser', () => {
  test('gives as many random bytes as are asked for', () => {
    expect(browser.randomBytes(0)).toHaveLength(0);
    const many = browser.randomBytes(200_000);
    // All zero: 2^-2048.
    expect(many.subarray(0, 256).some(Boolean) && many.subarray(-256).some(Boolean)).toBe(true);
  });

  test('hashes and derives keys as Node does', () => {
    const pieces = [bytes(0), bytes(1), bytes(200)];
    expect(browser.sha256(...pieces)).toEqual(node.sha256(...pieces));
    expect(browser.sha256()).toEqual(node.sha256());
    const parameters = { N: 256, r: 8, p: 4, keyBytes: 32, maxMemoryBytes: 2 ** 20 };
    expect(browser.scrypt(pieces[2]!, pieces[1]!, parameters)).toEqual(node.scrypt(pieces[2]!, pieces[1]!, parameters));
    expect(() => browser.scrypt(pieces[2]!, pieces[1]!, { ...parameters, maxMemoryBytes: 1024 })).toThrow();
  });

  test('inflates as Node does: what is whole, and nothing else', () => {
    for (const contents of [
      new Uint8Array(0),
      bytes(1),
      bytes(70_000),
      new Uint8Array(100_000),
      new Uint8Array(65_536).fill(7, 9),
    ]) {
      for (const level of [0, 1, 9]) {
        const stream = new Uint8Array(deflateRawSync(contents, { level }));
        const padded = new Uint8Array(stream.length + 700);
        padded.set(stream);
        const limit = contents.length;
        expect(browser.inflateRaw(padded, limit)).toEqual(contents);
        expect(browser.inflateRaw(stream, limit + 10)).toEqual(contents);
        if (limit > 0) expect(browser.inflateRaw(padded, limit - 1)).toBeUndefined();
        expect(browser.inflateRaw(stream.subarray(0, -1), limit)).toBeUndefined();
      }
    }
    expect(browser.inflateRaw(new Uint8Array(0), 100)).toBeUndefined();
  });

  test('does not fall over what is not a stream', () => {
    for (let i = 0; i < 300; i++) {
      const stream = new Uint8Array(deflateRawSync(bytes(random.below(2000))));
      for (let flips = 1 + random.below(4); flips > 0; flips--)
        stream[random.below(stream.length)]! ^= 1 << random.below(8);
      const inflated = browser.inflateRaw(stream, 2000);
      expect(inflated === undefined || inflated.length <= 2000).toBe(true);
    }
  });

  test('has no files', () => {
    expect(browser.files.exists('/')).toBe(false);
    expect(browser.files.kind('/')).toBeUndefined();
    expect(() => browser.files.list('/')).toThrow('no folders');
  });
});
