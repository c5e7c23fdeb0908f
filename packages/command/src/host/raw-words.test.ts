import { bytesOfWord, printable } from '@bcachefs-ts/core/engine';
import { expect, test } from 'vitest';
import { rawWords } from './raw-words.ts';

const line = (...words: (string | number[])[]): Uint8Array =>
  Uint8Array.from(words.flatMap(word => [...(typeof word === 'string' ? new TextEncoder().encode(word) : word), 0]));

test('bytes that are not UTF-8 are what they were', () => {
  const read = () => line('node', '--flag', 'bcachefs.js', 'put', [0x2f, 0xff, 0xfe, 0x6e], 'größe', '\ufffd');
  const words = rawWords(['put', '/\ufffd\ufffdn', 'größe', '\ufffd'], read);
  expect(words[0]).toBe('put');
  expect(bytesOfWord(words[1]!)).toEqual(Uint8Array.of(0x2f, 0xff, 0xfe, 0x6e));
  expect(printable(words[1]!)).toBe('/\\xff\\xfen');
  // U+FFFD itself is a character.
  expect(words.slice(2)).toEqual(['größe', '\ufffd']);
});

test('where they cannot be known they are refused, not guessed', () => {
  const none = () => {
    throw new Error('no /proc');
  };
  for (const read of [none, () => line('x'), () => line('node', 'other')]) {
    const [word = ''] = rawWords(['a\ufffd'], read);
    expect(() => bytesOfWord(word)).toThrow('not UTF-8');
    expect(printable(word)).toBe('a\\x??');
  }
  expect(rawWords(['plain'], none)).toEqual(['plain']);
});
