// Casefolding by the format's own table. The expectations come from the kernel's (utf8data.c, which v1.36.1 of the reference carries), compiled
// and asked for every code point and for strings of marks.

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { patient } from '../../../../test/support/patience.ts';
import { foldName } from './casefold.ts';

const fold = (...codes: readonly number[]) =>
  Array.from(new TextDecoder().decode(foldName(new TextEncoder().encode(String.fromCodePoint(...codes)))), char =>
    char.codePointAt(0),
  );

test(
  'every code point folds as in the table of Unicode 12.1',
  () => {
    const encoder = new TextEncoder();
    const hash = createHash('sha256');
    let lines = '';
    for (let code = 1; code < 0xe2000; code = code === 0xd7ff ? 0xe000 : code === 0x2ffff ? 0xe0000 : code + 1) {
      const folded = Buffer.from(foldName(encoder.encode(String.fromCodePoint(code))));
      lines += `${code.toString(16)} ${folded.toString('hex')}\n`;
      if (code % 0x1000 === 0) {
        hash.update(lines);
        lines = '';
      }
    }
    // source: reference
    expect(hash.update(lines).digest('hex')).toBe('a9da9a08dfcf51d70dc8f7ed55223c3864bb285c2ea51e4379f5a4e457a20822');
  },
  patient(60_000),
);

// biome-ignore format: a table; source: reference
test.each([
  ['Cherokee folds to its capitals', [0x13a0, 0xab70], [0x13a0, 0x13a0]],
  ['capitals of Unicode 13 and later stand for themselves', [0xa7c7, 0x2c2f, 0x10d50], [0xa7c7, 0x2c2f, 0x10d50]],
  ['marks of Unicode 13 and later are in no order', [0x61, 0x1abf, 0x323], [0x61, 0x1abf, 0x323]],
  ['sharp s, small and capital', [0xdf, 0x1e9e], [0x73, 0x73, 0x73, 0x73]],
  ['what is composed is decomposed', [0xc5, 0xac00], [0x61, 0x30a, 0x1100, 0x1161]],
  ['folded first, put in order then', [0x3b1, 0x345, 0x301], [0x3b1, 0x3b9, 0x301]],
  ['what is ignored keeps marks apart', [0x300, 0x34f, 0x93c], [0x300, 0x93c]],
  ['ignored without being assigned', [0x41, 0xfff0, 0x2065, 0x42], [0x61, 0x62]],
  ['marks in order', [0x11a8, 0x1e94a, 0x323, 0x93c, 0x8d4], [0x11a8, 0x1e94a, 0x93c, 0x323, 0x8d4]],
  ['neither a dotless i nor one with a dot is an i', [0x131, 0x130], [0x131, 0x69, 0x307]],
] as const)('%s', (_, from, to) => {
  expect(fold(...from)).toEqual(to);
});

test('a name that is not UTF-8 stays as it is', () => {
  expect(foldName(Uint8Array.of(0x41, 0xff))).toEqual(Uint8Array.of(0x41, 0xff));
});
