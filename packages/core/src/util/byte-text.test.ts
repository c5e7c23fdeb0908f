// Bytes as text: what is shown of names that can be anything.

import { expect, test } from 'vitest';
import { latin1Text, printable, printableBytes, printableJson, utf8Text, withoutMisleading } from './byte-text.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

test.each([
  ['', []],
  ['plain', [...utf8('plain')]],
  ['größe 名 🦊', [...utf8('größe 名 🦊')]],
  ['\\x1b[2J\\x0a\\x00\\x7f', [...utf8('\x1b[2J\n\0\x7f')]],
  ['\\xc2\\x9b31m', [...utf8('\u009b31m')]], // the one-byte escape sequence of some terminals
  ['a\\xe2\\x80\\xa8b', [...utf8('a\u2028b')]],
  ['gpj.\\xe2\\x80\\xaeexe', [...utf8('gpj.\u202eexe')]],
  ['\\xe2\\x81\\xa6', [...utf8('\u2066')]],
  ['\\xff\\xfe', [0xff, 0xfe]],
  ['\\xc3', [0xc3]], // cut off
  ['\\xe2\\x82x', [0xe2, 0x82, 0x78]],
  ['\\xc0\\xaf', [0xc0, 0xaf]], // a slash in two bytes, which UTF-8 forbids
  ['\\xed\\xa0\\x80', [0xed, 0xa0, 0x80]], // half of a surrogate pair
  ['\ufeffmark', [...utf8('\ufeffmark')]],
])('%j', (text, bytes) => expect(printableBytes(Uint8Array.from(bytes))).toBe(text));

test('text and bytes', () => {
  expect(utf8Text(utf8('größe'))).toBe('größe');
  expect(utf8Text(Uint8Array.of(0x61, 0xff))).toBeUndefined();
  const all = Uint8Array.from({ length: 10_000 }, (_, i) => i & 255);
  expect(Uint8Array.from(latin1Text(all), char => char.charCodeAt(0))).toEqual(all);
});

test('one rule for bytes, text, whole output and JSON', () => {
  const misleading = [...'\u007f\u009b\u061c\u200e\u200f\u2028\u202a\u202e\u2066\u2069'];
  for (const char of misleading) {
    const shown = printableBytes(utf8(char));
    expect(shown).toMatch(/^(\\x[0-9a-f]{2})+$/);
    expect(printable(`a\u001b${char}ü`)).toBe(`a\\x1b${shown}ü`);
    expect(withoutMisleading(`\u001b[1ma\n${char}`)).toBe(`\u001b[1ma\n${shown}`);
    const json = printableJson(JSON.stringify({ name: `a${char}b` }));
    expect(json).toMatch(/^\{"name":"a\\u[0-9a-f]{4}b"\}$/);
    expect(JSON.parse(json)).toEqual({ name: `a${char}b` });
  }
  // Parts of what people write: joined emoji, marks that do not turn anything.
  expect(printable('👩\u200d👩 \ufeff é 名')).toBe('👩\u200d👩 \ufeff é 名');
});
